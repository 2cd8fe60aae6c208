-- The projections of the rows that were there before them.
alter table {raw:Identifier}.loads $on_cluster
    materialize projection by_day,
    materialize projection by_time,
    materialize projection by_load
