-- Every statement of the outbox, by name. A statement is one step for all of its rows: a step is where a thread gives
-- the interpreter lock away and has to wait for it again. Rows come out as one JSON list, and go in as one, too, or, where
-- it says {rows}, as bound values (`rows`).
-- (`json()` around a sub-select: on its way out of one, a value can lose that it is JSON and not text.)

-- name: count
-- Add to counters. Rows: kind, name, counter, n.
insert into tally (kind, name, counter, n)
select * from {rows} where column1 is not null
on conflict (kind, name, counter) do update set n = n + excluded.n;

-- name: tallies
-- Every counter.
select json_group_array(json_array(kind, name, counter, n)) from tally;

-- name: destinations
-- Every destination: where it stands, what is unsettled there, and where the events begin that it was never handed.
select json_group_array(json_array(
    d.id, d.name, d.cursor, d.state, d.reason, d.since, d.up_seconds, d.paused_at, d.paused_until,
    coalesce(u.number, 0), coalesce(u.bytes, 0), coalesce(u.held, 0), coalesce(u.returned, 0),
    (select log_offset from event where seq = (
        select min((
            select e.seq from event e where e.owed = m.set_id and e.seq > d.cursor
            and not exists (select 1 from ahead a where a.destination = d.id and a.seq = e.seq)
            order by e.seq limit 1
        ))
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

-- name: find_stored
-- Which of these event ids are stored.
select json_group_array(e.id) from json_each(:ids) i cross join event e on e.id = i.value;

-- name: find_seen
-- What these callers' keys stood for since `since`. Rows: source, key.
select json_group_array(json_array(s.source, s.key, lower(hex(s.digest)), s.id))
from json_each(:rows) r cross join seen s
on s.source = r.value ->> 0 and s.key = r.value ->> 1 and s.at >= :since;

-- name: append_events
-- Store events. Rows: seq, id, source, lane, received_at, name, size, log_offset, hops, owed, filtered, body,
-- checksum.
insert into event (seq, id, source, lane, received_at, name, size, log_offset, hops, owed, filtered, body, crc)
select * from {rows} where column1 is not null;

-- name: append_seen
-- Remember callers' keys. Rows: source, key, digest in hex, event id.
insert or replace into seen (source, key, digest, id, at)
select value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, :at from json_each(:rows);

-- name: fresh
-- No statement, but what others mean by {fresh}: what a destination was never handed, from the cursor on, as seq. From
-- each set that names the destination its first few, by the index on (owed, seq); then the first of all.
select f.value as seq from member m, json_each((
    select json_group_array(seq) from (
        select seq from event e where owed = m.set_id and seq > :cursor
        and not exists (select 1 from ahead a where a.destination = :destination and a.seq = e.seq)
        order by seq limit :limit
    )
)) f
where m.destination = :destination order by seq limit :limit

-- name: next_deliveries
-- What a destination is owed next, in order: what was given back, then the log from the cursor on but for what went
-- ahead. `behind` says that the lane has something held: 1 where some of it is older, 2 where all of it is younger.
with
returned as (
    select seq, attempts from unsettled
    where destination = :destination and held = 0 and hand = 0 order by seq limit :limit
),
fresh as ({fresh}),
next as (
    select seq, attempts, 1 as returned from returned
    union all select seq, 0, 0 from fresh
    order by seq limit :limit
),
sized as (
    select e.*, n.attempts, n.returned, sum(e.size) over (order by e.seq) - e.size as before,
        coalesce((
            select iif(u.seq < e.seq, 1, 2) from unsettled u
            where u.destination = :destination and u.lane = e.lane and u.held = 1 and u.aside = 0
            order by u.seq limit 1
        ), 0) as behind
    from next n cross join event e on e.seq = n.seq
)
select json_group_array(json_array(
    seq, lane, size, hops, attempts, returned, behind, log_offset + size, iif(behind, '', body), crc
) order by seq)
from sized where before < :bytes;

-- name: live_deliveries
-- Some deliveries beyond the cursor, as `next_deliveries` gives them. Rows: seq.
with
sized as (
    select e.*, coalesce(u.attempts, 0) as attempts, u.seq is not null as returned,
        sum(e.size) over (order by e.seq) - e.size as before,
        coalesce((
            select iif(h.seq < e.seq, 1, 2) from unsettled h
            where h.destination = :destination and h.lane = e.lane and h.held = 1 and h.aside = 0
            order by h.seq limit 1
        ), 0) as behind
    from json_each(:rows) r cross join event e on e.seq = r.value
    left join unsettled u on u.destination = :destination and u.seq = e.seq
)
select json_group_array(json_array(
    seq, lane, size, hops, attempts, returned, behind, log_offset + size, iif(behind, '', body), crc
) order by seq)
from sized where before < :bytes;

-- name: fresh_lanes
-- The next events that a destination was never handed, in order, with their lanes.
select json_group_array(json_array(f.value ->> 0, f.value ->> 1) order by f.value ->> 0)
from (
    select f.value from member m, json_each((
        -- From each set that names the destination its first few, by the index on (owed, seq, lane) alone.
        select json_group_array(json_array(seq, lane)) from (
            select e.seq, e.lane from event e where e.owed = m.set_id and e.seq > :after and e.seq <= :upto
            and not exists (select 1 from ahead a where a.destination = :destination and a.seq = e.seq)
            order by e.seq limit :limit
        )
    )) f
    where m.destination = :destination order by f.value ->> 0 limit :limit
) f;

-- name: returned_lanes
-- The lanes of what was given back.
select json_group_array(distinct lane) from unsettled where destination = :destination and held = 0 and hand = 0;

-- name: returned_ahead
-- What went ahead and was given back, if nothing older of its lane was given back too.
select json_group_array(json_array(seq, lane) order by seq)
from (
    select seq, lane from (
        select seq, lane, min(seq) over (partition by lane) as first from unsettled
        where destination = :destination and held = 0 and hand = 0
    )
    where seq = first and seq > :cursor order by seq limit :limit
);

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
    select n.*, e.hops, e.body, e.crc, sum(n.size) over (order by n.seq) - n.size as before,
        exists (select 1 from ahead a where a.destination = n.destination and a.seq = n.seq) as live
    from next n cross join event e on e.seq = n.seq
)
select json_group_array(json_array(
    seq, lane, size, hops, attempts, parks, since, step, aside, live, body, crc
) order by seq)
from sized where before < :bytes;

-- name: hand_out
-- Mark deliveries as handed out, as held (behind their lane, or dead until now), or as returned.
-- Rows: destination, seq, lane, size, hand, held, attempts.
insert into unsettled (destination, seq, lane, size, hand, held, attempts)
select * from {rows} where column1 is not null
on conflict (destination, seq) do update
set hand = excluded.hand, held = excluded.held, attempts = excluded.attempts;

-- name: move_cursors
-- Move destinations' cursors. Rows: destination, cursor.
update destination set cursor = r.value ->> 1 from json_each(:rows) r where destination.id = r.value ->> 0;

-- name: pass_ahead
-- Forget what the cursors have passed, up to `limit` of it. Rows: destination, cursor.
delete from ahead where (destination, seq) in (
    select a.destination, a.seq from json_each(:rows) r cross join ahead a
    on a.destination = r.value ->> 0 and a.seq <= r.value ->> 1
    limit :limit
);

-- name: in_hand
-- The deliveries that are in somebody's hand.
select json_group_array(json_array(
    destination, seq, lane, size, json(iif(held, 'true', 'false')), attempts
)) from unsettled where hand <> 0;

-- name: sizes_counted
-- The sizes by which unsettled deliveries were counted. Rows: destination, seq.
select json_group_array(json_array(u.seq, u.size)) from json_each(:rows) r cross join unsettled u
on u.destination = r.value ->> 0 and u.seq = r.value ->> 1;

-- name: settle
-- Forget what is settled for good. Rows: destination, seq.
delete from unsettled where (destination, seq) in (select * from {rows});

-- name: bury
-- Keep the dead, with their reasons. Rows: destination, seq, reason, detail, request, when it was dropped.
insert into dead (destination, seq, reason, detail, request, dropped_at, at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, :at from json_each(:rows);

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
from (
    select r.value ->> 0 as destination, (
        select min(f.seq) from unsettled f
        where f.destination = r.value ->> 0 and f.lane = r.value ->> 1 and f.held = 1 and f.aside = 0
    ) as seq
    from json_each(:rows) r
    union
    select f.destination, f.seq from json_each(:rows) r cross join unsettled f indexed by unsettled_first
    on f.destination = r.value ->> 0 and f.lane = r.value ->> 1
    where f.held = 1 and f.aside = 0 and f.due is not null
) as first
where u.destination = first.destination and u.seq = first.seq;

-- name: record_attempts
-- Record tries. Rows: seq, destination, place among this settlement's, at, duration, step, outcome, reason, status,
-- reply.
insert into attempt (seq, destination, n, at, duration, step, outcome, reason, status, reply)
select column1, column2,
    column3 + coalesce((select max(n) from attempt where seq = column1 and destination = column2), 0),
    column4, column5, column6, column7, column8, column9, column10
from {rows} where column1 is not null;

-- name: stand
-- Remember how destinations stand. Rows: destination, state, reason, since, up_seconds, paused_at, paused_until.
update destination
set state = r.value ->> 1, reason = r.value ->> 2, since = r.value ->> 3, up_seconds = r.value ->> 4,
    paused_at = r.value ->> 5, paused_until = r.value ->> 6
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
            select min((
                select e.seq from event e where e.owed = m.set_id and e.seq > d.cursor
                and not exists (select 1 from ahead a where a.destination = d.id and a.seq = e.seq)
                order by e.seq limit 1
            ))
            from member m where m.destination = d.id
        ), 9e18)
    ) as first
    from destination d
)
where first < 9e18;

-- name: let_go
-- After a start: nothing is in anybody's hand. The attempts that were started stay counted.
update unsettled set hand = 0 where hand <> 0;

-- name: let_go_there
-- Nothing is in anybody's hand at some destinations. The attempts that were started stay counted. Rows: destination.
update unsettled set hand = 0 where destination in (select value from json_each(:rows)) and hand <> 0;

-- name: undo_hand
-- After a transaction whose end is unknown: nobody got what it handed out.
update unsettled set hand = 0, attempts = attempts - 1 where hand = :hand;

-- name: settled_events
-- From a place in the log on, events received before `before` or among the next `excess` bytes: how many of them there
-- are up to `limit`, where they end, and those that nobody waits for. The shed were never waited for.
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
            and not exists (select 1 from ahead a where a.destination = d.id and a.seq = e.seq)
            or exists (select 1 from unsettled u where u.destination = d.id and u.seq = e.seq)
            or exists (
                select 1 from dead x
                where x.destination = d.id and x.seq = e.seq and x.dropped_at is null and x.reason <> 'shed'
            )
        )
     )))
);

-- name: forget_events
-- Delete events. Rows: seq.
delete from event where seq in (select value from json_each(:rows));

-- name: forget_attempts
-- Delete the attempts of events. Rows: seq.
delete from attempt where seq in (select value from json_each(:rows));

-- name: count_dead
-- How many of the events are dead at each destination. Rows: seq.
select json_group_array(json_array(d.name, (
    select count(*) from json_each(:rows) r cross join dead x on x.destination = d.id and x.seq = r.value
    where x.dropped_at is null
)))
from destination d;

-- name: forget_dead
-- Delete what is left of events at the destinations that did not get them. Rows: seq.
delete from dead where (destination, seq) in (select d.id, r.value from destination d cross join json_each(:rows) r);

-- name: forget_ahead
-- Delete the marks of events that were handed out ahead of a cursor. Rows: seq.
delete from ahead where (destination, seq) in (select d.id, r.value from destination d cross join json_each(:rows) r);

-- name: old_dead
-- The first of what died before `before`.
select json_group_array(json_array(destination, seq)) from (
    select destination, seq from dead indexed by dead_at where dropped_at is null and at < :before order by at limit :limit
);

-- name: selected
-- No statement, but what others mean by {selected}: that a dead delivery (x, of d and e) is there and chosen.
x.dropped_at is null
and (:choice ->> 'destination' is null or d.name = :choice ->> 'destination')
and (:choice ->> 'reason' is null or x.reason = :choice ->> 'reason')
and (:choice ->> 'name' is null or e.name glob :choice ->> 'name')
and (:choice ->> 'event_id' is null or e.id = :choice ->> 'event_id')
and (:choice ->> 'since' is null or x.at >= :choice ->> 'since')
and (:choice ->> 'until' is null or x.at < :choice ->> 'until')

-- name: chosen_dead
-- The first of a selection of the dead, destination by destination, the oldest first.
select json_group_array(json_array(name, seq)) from (
    select d.name, x.seq
    from destination d cross join dead x indexed by dead_there on x.destination = d.id
    cross join event e on e.seq = x.seq
    where {selected}
    order by d.id, x.seq limit :limit
);

-- name: still_dead
-- Those of the deliveries that are dead. Rows: destination, seq.
select json_group_array(json_array(x.destination, x.seq, e.lane, e.size))
from json_each(:rows) r cross join dead x on x.destination = r.value ->> 0 and x.seq = r.value ->> 1
cross join event e on e.seq = x.seq
where x.dropped_at is null;

-- name: give_up
-- Drop dead ones. Rows: destination, seq.
update dead set dropped_at = :at
where (destination, seq) in (select value ->> 0, value ->> 1 from json_each(:rows));

-- name: dig_up
-- Forget that deliveries were dead, or dropped. Rows: destination, seq.
delete from dead where (destination, seq) in (select value ->> 0, value ->> 1 from json_each(:rows));

-- name: waiting_there
-- What waits at a destination and is in nobody's hand, the oldest first; and how it stands at `other`.
with
passed as (
    select seq, held from unsettled where destination = :destination and hand = 0 order by seq limit :limit
),
fresh as ({fresh}),
next as (
    select seq, held, 0 as fresh from passed union all select seq, 0, 1 from fresh order by seq limit :limit
)
select json_group_array(json_array(
    e.seq, e.lane, e.size, e.log_offset, n.held, n.fresh, e.owed,
    exists (select 1 from ahead a where a.destination = :other and a.seq = e.seq),
    exists (select 1 from dead x where x.destination = :other and x.seq = e.seq and x.dropped_at is not null)
) order by e.seq)
from next n cross join event e on e.seq = n.seq;

-- name: dead_there
-- What is dead at a destination, the oldest first; and how it stands at `other`.
select json_group_array(json_array(
    e.seq, e.lane, e.size, e.log_offset, 0, 0, e.owed,
    exists (select 1 from ahead a where a.destination = :other and a.seq = e.seq),
    exists (select 1 from dead o where o.destination = :other and o.seq = e.seq and o.dropped_at is not null)
) order by e.seq)
from (
    select seq from dead indexed by dead_there
    where destination = :destination and dropped_at is null order by seq limit :limit
) x cross join event e on e.seq = x.seq;

-- name: owe
-- Owe events to another set of destinations. Rows: seq, set.
update event set owed = r.value ->> 1 from json_each(:rows) r where event.seq = r.value ->> 0;

-- name: move_dead
-- Let deliveries be dead elsewhere. Rows: seq.
update dead set destination = :new where destination = :old and seq in (select value from json_each(:rows));

-- name: pass_over
-- Let a cursor pass events over when it comes by. Rows: destination, seq.
insert into ahead (destination, seq) select value ->> 0, value ->> 1 from json_each(:rows) where true
on conflict do nothing;

-- name: unmark
-- Let nothing be ahead of a cursor that is owed it no more. Rows: destination, seq.
delete from ahead where (destination, seq) in (select value ->> 0, value ->> 1 from json_each(:rows));

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
            when x.seq is not null then iif(x.dropped_at is null, 'dead', 'dropped')
            when u.seq is not null then iif(u.held, 'held', 'due')
            when d.cursor < e.seq
                and not exists (select 1 from ahead a where a.destination = d.id and a.seq = e.seq) then 'due'
            else 'delivered'
        end)
        from json_each(o.names) n join destination d on d.name = n.value
        left join dead x on x.destination = d.id and x.seq = e.seq
        left join unsettled u on u.destination = d.id and u.seq = e.seq
    )),
    'attempts', json((
        select json_group_array(json_array(
            d.name, a.at, a.duration, a.step, a.outcome, a.reason, a.status, a.reply
        ) order by d.name, a.n)
        from attempt a join destination d on d.id = a.destination where a.seq = e.seq
    )),
    'reasons', json((
        select json_group_object(d.name, coalesce(x.reason, u.reason))
        from json_each(o.names) n join destination d on d.name = n.value
        left join dead x on x.destination = d.id and x.seq = e.seq
        left join unsettled u on u.destination = d.id and u.seq = e.seq
        where coalesce(x.reason, u.reason, '') <> ''
    )),
    'dues', json((
        select json_group_object(d.name, u.due)
        from json_each(o.names) n join destination d on d.name = n.value
        join unsettled u on u.destination = d.id and u.seq = e.seq
        where u.due is not null and u.hand = 0
    ))
)
from event e join destination_set o on o.id = e.owed join destination_set f on f.id = e.filtered
where e.id = :id;

-- name: find_all
-- The ids of events by what their callers gave them: an event id, or an `Idempotency-Key`; the latest first.
select json_group_array(id) from (
    select e.id from seen s cross join event e on e.id = s.id
    where :key in (
        s.key,
        iif(s.key like 'id:%', substr(s.key, 4), null),
        iif(s.key like 'key:%:%', substr(s.key, 5 + instr(substr(s.key, 5), ':')), null)
    )
    order by e.seq desc limit :limit
);

-- name: causes
-- Why the selected are dead, the most frequent cause first; the detail is the latest one's.
with
chosen as (
    select d.name as destination, x.reason, x.detail, x.at, x.seq
    from dead x cross join destination d on d.id = x.destination
    cross join event e on e.seq = x.seq
    where {selected}
),
counted as (
    select destination, reason, count(*) as number, min(at) as first, max(at) as last from chosen group by 1, 2
)
select json_group_array(json_array(
    c.destination, c.reason, (
        select detail from chosen x where x.destination = c.destination and x.reason = c.reason and x.at = c.last
        order by x.seq desc limit 1
    ), c.number, c.first, c.last
) order by c.number desc, c.destination, c.reason)
from counted c;

-- name: dead_letters
-- The selected dead, the latest first, from a place on. `after`: at, destination, seq.
select json_group_array(json_array(
    at, did, seq, id, destination, source, name, reason, detail, received_at, attempts
) order by at desc, did desc, seq desc)
from (
    select x.at, d.id as did, x.seq, e.id, d.name as destination, e.source, e.name, x.reason, x.detail, e.received_at,
        (select count(*) from attempt a where a.seq = x.seq and a.destination = x.destination) as attempts
    from dead x indexed by dead_at cross join destination d on d.id = x.destination
    cross join event e on e.seq = x.seq
    where {selected} and (x.at, x.destination, x.seq) < (:after ->> 0, :after ->> 1, :after ->> 2)
    order by x.at desc, x.destination desc, x.seq desc limit :limit
);

-- name: autopsy
-- Everything that is known of one dead delivery.
select json_object(
    'letter', json_array(
        x.at, d.id, e.seq, e.id, d.name, e.source, e.name, x.reason, x.detail, e.received_at,
        (select count(*) from attempt a where a.seq = x.seq and a.destination = x.destination)
    ),
    'body', e.body,
    'request', x.request,
    'attempts', json((
        select json_group_array(json_array(
            d.name, a.at, a.duration, a.step, a.outcome, a.reason, a.status, a.reply
        ) order by a.n)
        from attempt a where a.seq = x.seq and a.destination = x.destination
    ))
)
from event e cross join destination d on d.name = :destination
cross join dead x on x.destination = d.id and x.seq = e.seq
where e.id = :id and x.dropped_at is null;

-- name: miscounted
-- Where the rows are not what was counted: destination, what, counted, found. '' where the log is longer than counted.
with compared (name, what, counted, found) as materialized (
    select d.name, 'waiting',
        coalesce((select sum(iif(counter = 'owed', n, -n)) from tally
            where kind = 'destination' and name = d.name and counter in ('owed', 'delivered', 'dead', 'dropped')), 0),
        (select count(*) from unsettled where destination = d.id)
        - (select count(*) from ahead where destination = d.id and seq > d.cursor)
        + coalesce((
            select sum((select count(*) from event where owed = m.set_id and seq > d.cursor))
            from member m where m.destination = d.id
        ), 0)
    from destination d
    union all
    select d.name, 'dead',
        coalesce((select n from tally where kind = 'destination' and name = d.name and counter = 'dead'), 0),
        (select count(*) from dead where destination = d.id and dropped_at is null)
    from destination d
    union all
    select '', 'events',
        coalesce((select n from tally where kind = 'log' and counter = 'events'), 0),
        coalesce((select max(seq) from event), 0)
)
select json_group_array(json_array(name, what, counted, found)) from (
    select * from compared where iif(what = 'events', found > counted, found <> counted)
);
