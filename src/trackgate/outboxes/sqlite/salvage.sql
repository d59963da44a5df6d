-- What was read from a damaged file is made a whole again. It is in the tables as it was found, each row on its own.
-- `known` is a temporary table of what was found: the numbers that indexes and other tables name, with the text that an index has beside it.

-- The sets say which destinations there are, and are said by the events. An event whose set is lost has nowhere to go.
insert into destination_set (names) values ('[]') on conflict do nothing;
delete from event where owed not in (select id from destination_set);
update event set filtered = (select id from destination_set where names = '[]')
where filtered not in (select id from destination_set);
insert into destination (id, name, cursor)
select k.seq, k.id, -1 from known k
where k.id in (select n.value from destination_set s, json_each(s.names) n) on conflict do nothing;
insert into destination (name, cursor)
select distinct n.value, -1 from destination_set s, json_each(s.names) n where true on conflict do nothing;
insert into member (destination, set_id)
select d.id, s.id from destination_set s, json_each(s.names) n join destination d on d.name = n.value
where true on conflict do nothing;
delete from known where id in (select name from destination);

-- What was tried and delivered last, although the cursor as it was found has not come by.
insert into ahead (destination, seq)
select m.destination, e.seq from event e join member m on m.set_id = e.owed join destination d on d.id = m.destination
where e.seq > d.cursor and (
    exists (select 1 from unsettled u where u.destination = d.id and u.seq = e.seq)
    or exists (select 1 from dead x where x.destination = d.id and x.seq = e.seq)
    or 'delivered' = (
        select outcome from attempt a where a.seq = e.seq and a.destination = d.id order by n desc limit 1
    )
);

-- Whose rows are not what was counted: there, what nothing says was delivered counts as waiting.
create temp table doubted as
select d.id, d.name from destination d
where d.cursor < 0 or d.cursor > :last
or coalesce((select sum(iif(counter = 'owed', n, -n)) from tally
        where kind = 'destination' and name = d.name and counter in ('owed', 'delivered', 'dead', 'dropped')), -1)
    <> (select count(*) from unsettled where destination = d.id)
    - (select count(*) from ahead where destination = d.id and seq > d.cursor)
    + coalesce((
        select sum((select count(*) from event where owed = m.set_id and seq > d.cursor))
        from member m where m.destination = d.id
    ), 0)
or coalesce((select n from tally where kind = 'destination' and name = d.name and counter = 'dead'), 0)
    <> (select count(*) from dead where destination = d.id and dropped_at is null);

-- A cursor that cannot be believed is taken to have passed everything; what it left behind is found below.
update destination set cursor = :last where cursor < 0 or cursor > :last;
delete from ahead where seq <= (select cursor from destination d where d.id = ahead.destination);

-- Rows that speak of an event which is not there, or not owed there. Where two tables claim a delivery, it waits.
delete from unsettled where not exists (
    select 1 from event e join member m on m.set_id = e.owed
    where e.seq = unsettled.seq and m.destination = unsettled.destination
);
delete from dead where not exists (
    select 1 from event e join member m on m.set_id = e.owed
    where e.seq = dead.seq and m.destination = dead.destination
) or exists (select 1 from unsettled u where u.destination = dead.destination and u.seq = dead.seq);
delete from attempt where seq not in (select seq from event);

create temp table unclear as
select d.id as destination, e.seq, e.lane, e.size
from doubted d join member m on m.destination = d.id join event e on e.owed = m.set_id
where e.seq <= (select cursor from destination where id = d.id)
and not exists (select 1 from unsettled u where u.destination = d.id and u.seq = e.seq)
and not exists (select 1 from dead x where x.destination = d.id and x.seq = e.seq)
and 'delivered' is not (
    select outcome from attempt a where a.seq = e.seq and a.destination = d.id order by n desc limit 1
);

insert into unsettled (destination, seq, lane, size, hand, held, attempts)
select destination, seq, lane, size, 0, 0, 0 from unclear;

-- In nobody's hand, each lane's first due and no other.
update unsettled
set hand = 0, held = held <> 0, aside = aside <> 0, attempts = max(attempts, 0),
    lane = (select lane from event e where e.seq = unsettled.seq),
    size = (select size from event e where e.seq = unsettled.seq);
update unsettled as u set due = iif(
    u.held = 1 and (u.aside = 1 or not exists (
        select 1 from unsettled e
        where e.destination = u.destination and e.lane = u.lane and e.held = 1 and e.aside = 0 and e.seq < u.seq
    )),
    coalesce(u.due, :now),
    null
);

update event set log_offset = o.place
from (select seq, sum(size) over (order by seq) - size as place from event) o where o.seq = event.seq;

create temp table counted as
select d.name,
    (select count(*) from unsettled u where u.destination = d.id)
    + (select count(*) from event e join member m on m.set_id = e.owed
        where m.destination = d.id and e.seq > d.cursor
        and not exists (select 1 from ahead a where a.destination = d.id and a.seq = e.seq)) as waiting,
    coalesce((select sum(u.size) from unsettled u where u.destination = d.id), 0)
    + coalesce((select sum(e.size) from event e join member m on m.set_id = e.owed
        where m.destination = d.id and e.seq > d.cursor
        and not exists (select 1 from ahead a where a.destination = d.id and a.seq = e.seq)), 0) as bytes,
    (select count(*) from dead x where x.destination = d.id and x.dropped_at is null) as dead,
    (select count(*) from event e join member m on m.set_id = e.owed where m.destination = d.id) as readable,
    (select count(*) from unclear where destination = d.id) as unclear
from destination d;
