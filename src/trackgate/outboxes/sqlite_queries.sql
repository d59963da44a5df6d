-- Every statement of the outbox, by name. Rows go in as one JSON list and come out as one JSON list: a statement is
-- one step, and a step is where a thread gives the interpreter lock away and has to wait for it again.
-- (`json()` around a sub-select: on its way out of one, a value can lose that it is JSON and not text.)

-- name: count
-- Add to counters. Rows: kind, name, counter, n.
insert into tally (kind, name, counter, n)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(:rows) where true
on conflict (kind, name, counter) do update set n = n + excluded.n;

-- name: tallies
-- Every counter.
select json_group_array(json_array(kind, name, counter, n)) from tally;

-- name: destinations
-- Every destination: where it stands, what is unsettled there, and where the events begin that it was never handed.
select json_group_array(json_array(
    d.id, d.name, d.cursor, d.state, d.reason, d.since, d.up_seconds,
    coalesce(u.number, 0), coalesce(u.bytes, 0), coalesce(u.held, 0), coalesce(u.returned, 0),
    (select log_offset from event where seq = (
        select min((select min(seq) from event where owed = m.set_id and seq > d.cursor))
        from member m where m.destination = d.id
    ))
))
from destination d left join (
    select destination, count(*) as number, sum(size) as bytes, sum(held) as held,
        sum(held = 0 and hand = 0) as returned
    from unsettled group by destination
) u on u.destination = d.id;

-- name: sets
-- Every set of destinations.
select json_group_array(json_array(id, json(names))) from destination_set;

-- name: add_destinations
-- Make destinations known, each at the end of the log. Rows: name.
insert into destination (name, cursor) select value, :cursor from json_each(:rows) where true
on conflict (name) do nothing;

-- name: add_sets
-- Make sets of destinations known. Rows: a sorted list of names each.
insert into destination_set (names) select value from json_each(:rows) where true on conflict (names) do nothing;

-- name: add_members
-- Enter the destinations of new sets. Rows: a sorted list of names each.
insert into member (destination, set_id)
select d.id, s.id from json_each(:rows) r
join destination_set s on s.names = r.value
join json_each(s.names) n join destination d on d.name = n.value
where true on conflict do nothing;

-- name: destination_ids
-- The ids of all destinations.
select json_group_array(json_array(id, name, cursor)) from destination;

-- name: find_repeats
-- Which of these event ids are stored, and what these callers' keys stood for since `since`. Rows: source, key.
select json_array(
    json((select json_group_array(e.id) from json_each(:ids) i cross join event e on e.id = i.value)),
    json((select json_group_array(json_array(s.source, s.key, lower(hex(s.digest)), s.id))
     from json_each(:rows) r cross join seen s
     on s.source = r.value ->> 0 and s.key = r.value ->> 1 and s.at >= :since))
);

-- name: append_events
-- Store events. Rows: seq, id, source, lane, received_at, name, size, log_offset, hops, owed, filtered, body.
insert into event (seq, id, source, lane, received_at, name, size, log_offset, hops, owed, filtered, body)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11
from json_each(:rows);

-- name: append_seen
-- Remember callers' keys. Rows: source, key, digest in hex, event id.
insert or replace into seen (source, key, digest, id, at)
select value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, :at from json_each(:rows);

-- name: next_deliveries
-- What a destination is owed next, in order: what was given back, then the log from the cursor on. `behind` says that
-- the lane has something held.
with
returned as (
    select seq, attempts from unsettled
    where destination = :destination and held = 0 and hand = 0 order by seq limit :limit
),
fresh as (
    -- From each set that names the destination its first few, by the index on (owed, seq); then the first of all.
    select f.value as seq from member m, json_each((
        select json_group_array(seq) from (
            select seq from event where owed = m.set_id and seq > :cursor order by seq limit :limit
        )
    )) f
    where m.destination = :destination order by seq limit :limit
),
next as (
    select seq, attempts, 1 as returned from returned
    union all select seq, 0, 0 from fresh
    order by seq limit :limit
),
sized as (
    select e.*, n.attempts, n.returned, sum(e.size) over (order by e.seq) - e.size as before,
        exists (
            select 1 from unsettled u
            where u.destination = :destination and u.lane = e.lane and u.held = 1 and u.aside = 0
        ) as behind
    from next n cross join event e on e.seq = n.seq
)
select json_group_array(json_array(
    seq, lane, size, hops, attempts, returned, behind, log_offset + size, iif(behind, '', body)
) order by seq)
from sized where before < :bytes;

-- name: held_deliveries
-- The first held delivery of each lane, and those aside, due by `now`, the oldest first (among those longest due).
with
longest_due as (
    select * from unsettled
    where destination = :destination and due is not null and hand = 0 and due <= :now
    order by due, seq limit :candidates
),
next as (select * from longest_due order by seq limit :limit),
sized as (
    select n.*, e.hops, e.body, sum(n.size) over (order by n.seq) - n.size as before
    from next n cross join event e on e.seq = n.seq
)
select json_group_array(json_array(
    seq, lane, size, hops, attempts, parks, since, step, aside, body
) order by seq)
from sized where before < :bytes;

-- name: hand_out
-- Mark deliveries as handed out, or as held behind their lane. Rows: destination, seq, lane, size, hand, held, attempts.
insert into unsettled (destination, seq, lane, size, hand, held, attempts)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
from json_each(:rows) where true
on conflict (destination, seq) do update
set hand = excluded.hand, held = excluded.held, attempts = excluded.attempts;

-- name: move_cursors
-- Move destinations' cursors. Rows: destination, cursor.
update destination set cursor = r.value ->> 1 from json_each(:rows) r where destination.id = r.value ->> 0;

-- name: in_hand
-- Those of the deliveries that are in somebody's hand. Rows: destination, seq.
select json_group_array(json_array(u.destination, u.seq, u.lane, u.size, u.held, u.aside, u.attempts))
from json_each(:rows) r cross join unsettled u
on u.destination = r.value ->> 0 and u.seq = r.value ->> 1
where u.hand <> 0;

-- name: settle
-- Forget what is settled for good. Rows: destination, seq.
delete from unsettled where (destination, seq) in (select value ->> 0, value ->> 1 from json_each(:rows));

-- name: bury
-- Keep the dead, with their reasons. Rows: destination, seq, reason, detail.
insert into dead (destination, seq, reason, detail, at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, :at from json_each(:rows);

-- name: hold
-- Hold deliveries for another try. Rows: destination, seq, due, attempts, parks, since, step, aside, reason.
update unsettled
set hand = 0, held = 1, due = r.value ->> 2, attempts = r.value ->> 3, parks = r.value ->> 4, since = r.value ->> 5,
    step = r.value ->> 6, aside = r.value ->> 7, reason = r.value ->> 8
from json_each(:rows) r
where unsettled.destination = r.value ->> 0 and unsettled.seq = r.value ->> 1;

-- name: give_back
-- Take deliveries back from a hand that did not try them. Rows: destination, seq.
update unsettled set hand = 0, attempts = attempts - 1
where (destination, seq) in (select value ->> 0, value ->> 1 from json_each(:rows));

-- name: order_lanes
-- In each lane give the first held delivery a due time and the others none. Rows: destination, lane.
update unsettled as u
set due = iif(
    exists (
        select 1 from unsettled e
        where e.destination = u.destination and e.lane = u.lane and e.held = 1 and e.aside = 0 and e.seq < u.seq
    ),
    null,
    coalesce(u.due, :now)
)
where (u.destination, u.seq) in (
    select r.value ->> 0, (
        select min(f.seq) from unsettled f
        where f.destination = r.value ->> 0 and f.lane = r.value ->> 1 and f.held = 1 and f.aside = 0
    )
    from json_each(:rows) r
    union
    select f.destination, f.seq from json_each(:rows) r cross join unsettled f
    on f.destination = r.value ->> 0 and f.lane = r.value ->> 1
    where f.held = 1 and f.aside = 0 and f.due is not null
);

-- name: record_attempts
-- Record tries. Rows: seq, destination, place among this settlement's, at, duration, step, outcome, reason, status,
-- reply.
insert into attempt (seq, destination, n, at, duration, step, outcome, reason, status, reply)
select value ->> 0, value ->> 1,
    (value ->> 2) + coalesce((select max(n) from attempt where seq = value ->> 0 and destination = value ->> 1), 0),
    value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9
from json_each(:rows);

-- name: stand
-- Remember how destinations stand. Rows: destination, state, reason, since, up_seconds.
update destination
set state = r.value ->> 1, reason = r.value ->> 2, since = r.value ->> 3, up_seconds = r.value ->> 4
from json_each(:rows) r where destination.id = r.value ->> 0;

-- name: next_due
-- When the next held delivery of a destination falls due.
select min(due) from unsettled where destination = :destination and due is not null and hand = 0;

-- name: oldest
-- When the oldest event was received that each destination still waits for.
select json_group_array(json_array(name, (select received_at from event where seq = first)))
from (
    select d.name, min(
        coalesce((select min(seq) from unsettled where destination = d.id), 9e18),
        coalesce((
            select min((select min(seq) from event where owed = m.set_id and seq > d.cursor))
            from member m where m.destination = d.id
        ), 9e18)
    ) as first
    from destination d
)
where first < 9e18;

-- name: let_go
-- After a start: nothing is in anybody's hand. The attempts that were started stay counted.
update unsettled set hand = 0 where hand <> 0;

-- name: undo_hand
-- After a transaction whose end is unknown: nobody got what it handed out.
update unsettled set hand = 0, attempts = attempts - 1 where hand = :hand;

-- name: settled_events
-- From a place in the log on, events received before `before` or among the next `excess` bytes: how many of them there
-- are up to `limit`, where they end, and those that nobody waits for.
with
next as (select * from event where seq > :after order by seq limit :limit),
sized as (select *, sum(size) over (order by seq) - size as so_far from next),
old as (select * from sized where received_at < :before or so_far < :excess)
select json_array(
    (select count(*) from old),
    (select coalesce(max(seq), 0) from old),
    json((select json_group_array(json_array(seq, size)) from old e
     where not exists (
        select 1 from destination_set s, json_each(s.names) n, destination d
        where s.id = e.owed and d.name = n.value and (
            d.cursor < e.seq
            or exists (select 1 from unsettled u where u.destination = d.id and u.seq = e.seq)
            or exists (select 1 from dead x where x.destination = d.id and x.seq = e.seq)
        )
     )))
);

-- name: forget_events
-- Delete events. Rows: seq.
delete from event where seq in (select value from json_each(:rows));

-- name: forget_attempts
-- Delete the attempts of events. Rows: seq.
delete from attempt where seq in (select value from json_each(:rows));

-- name: old_seen
-- How many of the callers' keys are older than `before`, as far as `limit`.
select count(*) from (select 1 from seen where at < :before limit :limit);

-- name: forget_seen
-- Delete a few of the callers' keys older than `before`.
delete from seen where (source, key, digest) in (
    select source, key, digest from seen where at < :before order by at limit :limit
);

-- name: find
-- An event by its id, and what became of it at each destination.
select json_object(
    'body', e.body,
    'owed', json(o.names),
    'filtered', json(f.names),
    'fates', json((
        select json_group_object(d.name, case
            when exists (select 1 from dead x where x.destination = d.id and x.seq = e.seq) then 'dead'
            when exists (select 1 from unsettled u where u.destination = d.id and u.seq = e.seq and u.held) then 'held'
            when exists (select 1 from unsettled u where u.destination = d.id and u.seq = e.seq) then 'due'
            when d.cursor < e.seq then 'due'
            else 'delivered'
        end)
        from json_each(o.names) n join destination d on d.name = n.value
    )),
    'attempts', json((
        select json_group_array(json_array(
            d.name, a.at, a.duration, a.step, a.outcome, a.reason, a.status, a.reply
        ) order by d.name, a.n)
        from attempt a join destination d on d.id = a.destination where a.seq = e.seq
    )),
    'reasons', json((
        select json_group_object(d.name, x.reason)
        from dead x join destination d on d.id = x.destination
        where x.seq = e.seq and d.name in (select value from json_each(o.names))
    ))
)
from event e join destination_set o on o.id = e.owed join destination_set f on f.id = e.filtered
where e.id = :id;
