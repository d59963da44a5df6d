-- From form 1 to form 2: dead letters keep the call as sent and can be dropped, events carry a checksum, deliveries can
-- be handed out ahead of the cursor, a pause outlives a restart, and the bytes that wait are counted per destination.

drop index event_owed;
create index event_owed on event (owed, seq, lane);
alter table event add column crc integer;

alter table destination add column paused_at integer;
alter table destination add column paused_until integer;

alter table dead add column request text;
alter table dead add column dropped_at integer;
create index dead_at on dead (at) where dropped_at is null;
create index dead_there on dead (destination, seq) where dropped_at is null;

create table ahead (
    destination integer not null references destination,
    seq         integer not null references event,
    primary key (destination, seq)
) strict, without rowid;

insert into tally (kind, name, counter, n)
select 'destination', d.name, 'waiting_bytes',
    coalesce((select sum(u.size) from unsettled u where u.destination = d.id), 0)
    + coalesce((
        select sum(e.size) from member m join event e on e.owed = m.set_id and e.seq > d.cursor
        where m.destination = d.id
    ), 0)
from destination d;
