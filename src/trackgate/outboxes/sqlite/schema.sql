-- The outbox is a log with a cursor for each destination.
-- Times are whole microseconds since 1970 (UTC), sizes are bytes, flags are 0 or 1.

-- Each distinct set of destinations is stored once; `names` is a sorted JSON list.
create table destination_set (
    id    integer primary key,
    names text not null unique
) strict;

-- Every destination ever named. It keeps its place in the log when it disappears from the configuration.
create table destination (
    id           integer primary key,
    name         text not null unique,
    cursor       integer not null,            -- everything owed up to here was handed out or buried
    state        text not null default 'up',
    reason       text,
    since        integer,
    up_seconds   real not null default 0,
    paused_at    integer,                     -- from when, and until when the upstream asked us to wait; null: never
    paused_until integer
) strict;

-- Which destinations are in which set.
create table member (
    destination integer not null references destination,
    set_id      integer not null references destination_set,
    primary key (destination, set_id)
) strict, without rowid;

-- The log. `log_offset` is the sum of the sizes before, so that the bytes between two events are one subtraction.
create table event (
    seq         integer primary key,
    id          text not null unique,
    source      text not null,
    lane        integer not null,
    received_at integer not null,
    name        text not null,
    size        integer not null,
    log_offset  integer not null,
    hops        integer not null,
    owed        integer not null references destination_set,
    filtered    integer not null references destination_set,
    body        text not null,
    crc         integer                       -- of the row, so that a damaged one is known; null: not known
) strict;
create index event_owed on event (owed, seq, lane);

-- What a cursor has passed and nobody has settled: in somebody's hand, given back, or held for another try.
create table unsettled (
    destination integer not null references destination,
    seq         integer not null references event,
    lane        integer not null,
    size        integer not null,
    hand        integer not null,             -- the transaction that handed it out; 0: in nobody's hand
    held        integer not null,
    attempts    integer not null,             -- started, the one in hand included
    aside       integer not null default 0,
    due         integer,                      -- only the first of a lane, and those aside, have one
    parks       integer not null default 0,
    since       real,
    step        text,
    reason      text not null default '',
    primary key (destination, seq)
) strict, without rowid;
create index unsettled_due on unsettled (destination, due) where due is not null and hand = 0;
create index unsettled_lane on unsettled (destination, lane, seq) where held = 1 and aside = 0;
create index unsettled_first on unsettled (destination, lane) where held = 1 and aside = 0 and due is not null;
create index unsettled_returned on unsettled (destination, seq) where held = 0 and hand = 0;

-- What was handed out, or buried, ahead of a cursor that has a backlog to get through; the cursor passes it over.
create table ahead (
    destination integer not null references destination,
    seq         integer not null references event,
    primary key (destination, seq)
) strict, without rowid;

-- Every try, for the record; never changed.
create table attempt (
    seq         integer not null,
    destination integer not null references destination,
    n           integer not null,
    at          integer not null,
    duration    real not null,
    step        text not null,
    outcome     text not null,
    reason      text,
    status      integer,
    reply       text,
    primary key (seq, destination, n)
) strict, without rowid;

-- What will not be delivered unless an operator says so.
create table dead (
    destination integer not null references destination,
    seq         integer not null references event,
    at          integer not null,
    reason      text not null,
    detail      text not null,
    request     text,                         -- the call as it was sent, its secrets masked; null: none was made
    dropped_at  integer,                      -- when it was given up; null: it is still there to be tried again
    primary key (destination, seq)
) strict, without rowid;
create index dead_at on dead (at) where dropped_at is null;
create index dead_there on dead (destination, seq) where dropped_at is null;

-- The callers' keys, to recognise a repeat.
create table seen (
    source text not null,
    key    text not null,
    digest blob not null,
    id     text not null,
    at     integer not null,
    primary key (source, key, digest)
) strict, without rowid;
create index seen_at on seen (at);

-- Counters, changed in the transaction of the fact that they count.
create table tally (
    kind    text not null,                    -- source, destination or log
    name    text not null,
    counter text not null,
    n       integer not null,
    primary key (kind, name, counter)
) strict, without rowid;
