"""The statements that search and erase. Identities travel as parameters or in a table in memory, so
no text of a statement or mutation has one: ClickHouse keeps those of mutations on disk."""

# Which hashes are wanted: those of all tombstones, or those of a request that only looks.
ALL_TOMBSTONES = "select identity_hash from {raw:Identifier}.erased_learners"
OF_REQUEST = """
select identity_hash from {database:Identifier}.stg_xapi__erasure_requests
where request_id = {request:UUID}
"""

ADD_REQUEST = """
insert into {raw:Identifier}.erasure_requests (request_id, kind, home_page, user_id)
format JSONEachRow
"""
# Also those of runs that were killed, which would stay until the server is started again.
FORGET_REQUESTS = """
alter table {raw:Identifier}.erasure_requests delete
where request_id in ({request:UUID}, {candidates:UUID}) or added_at < now64(3) - interval 1 day
"""

REQUESTED = """
select distinct
    toString(identity_hash) as identity_hash,
    if(kind = 'mbox', 'mbox_sha1sum', kind) as kind,
    learner_id
from {database:Identifier}.stg_xapi__erasure_requests
where request_id = {request:UUID}
"""

# Who a pseudonym is: from the tables, else from the raw lines.
WHO_IS = """
select distinct user_id, ifNull(home_page, '') as home_page
from {database:Identifier}.int_xapi__statements
where learner_id = {learner:String} and user_id is not null
"""
WHO_IS_IN_RAW = """
select distinct kind, user_id, home_page
from {database:Identifier}.stg_xapi__learners_in_raw
where kind != '' and learner_id = {learner:String}
"""

WRITE_TOMBSTONES = """
insert into {raw:Identifier}.erased_learners (identity_hash, kind, reason, request_id)
select identity_hash, any(if(kind = 'mbox', 'mbox_sha1sum', kind)), {reason:String}, {request:UUID}
from {database:Identifier}.stg_xapi__erasure_requests
where request_id = {request:UUID}
    and identity_hash not in (select identity_hash from {raw:Identifier}.erased_learners)
group by identity_hash
"""

# All learners that a table names, in every kind that each may be; the wanted ones among them are
# then found by their hash. So rows are found whose raw lines are gone.
ADD_CANDIDATES = """
insert into {raw:Identifier}.erasure_requests (request_id, kind, home_page, user_id)
select
    {candidates:UUID},
    arrayJoin(['account', 'mbox', 'mbox_sha1sum', 'openid']) as kind,
    names.home_page,
    names.user_id
from (
    select distinct ifNull(home_page, '') as home_page, assumeNotNull(user_id) as user_id
    from {database:Identifier}.{table:Identifier}
    where user_id is not null
        and (home_page, user_id) not in (
            select home_page, user_id
            from {raw:Identifier}.erasure_requests
            where request_id = {candidates:UUID}
        )
) as names
"""
LEARNERS_OF_TABLE = """
select distinct learner_id
from {database:Identifier}.{table:Identifier}
where notEmpty(learner_id)
    and (ifNull(user_id, ''), ifNull(home_page, '')) in (
        select user_id, home_page
        from {database:Identifier}.stg_xapi__erasure_requests
        where request_id = {candidates:UUID} and identity_hash in ($wanted)
    )
"""
LEARNERS_LEFT = "select distinct learner_id from {raw:Identifier}.erasure_learners"
KEEP_LEARNERS = """
insert into {raw:Identifier}.erasure_learners (learner_id) format JSONEachRow
"""

# The tables that have rows of learners: those of the models, what dead runs left, seeds.
TABLES = """
select
    table as name,
    has(names, 'user_id') and has(names, 'home_page') as has_names,
    has_names and has(names, 'event_id') and table != 'int_xapi__statements' as is_event
from (
    select table, groupArray(columns.name) as names
    from system.columns as columns
    where database = {database:String}
        and table in (
            select tables.name from system.tables as tables
            where database = {database:String} and engine like '%MergeTree'
        )
    group by table
)
where has(names, 'learner_id')
order by name
"""
ROWS_OF_LEARNERS = """
select count() as rows
from {database:Identifier}.{table:Identifier}
where learner_id in {learners:Array(String)}
"""
# A roster may have names and no pseudonyms.
ROWS_OF_NAMES = """
select count() as rows
from {database:Identifier}.{table:Identifier}
where empty(ifNull(learner_id, ''))
    and (ifNull(user_id, ''), ifNull(home_page, '')) in (
        select user_id, home_page
        from {database:Identifier}.stg_xapi__erasure_requests
        where request_id = {candidates:UUID} and identity_hash in ($wanted)
    )
"""

# Where raw lines have the wanted learners.
LINES = """
select
    load_id,
    bucket,
    key,
    source_line,
    groupArray(source_item) as source_items,
    any(is_plain) as is_plain,
    any(erased_line) as erased_line
from {database:Identifier}.stg_xapi__learners_in_raw
where kind != '' and identity_hash in ($wanted) and $scope
group by load_id, bucket, key, source_line
"""
# Lines of loads that dbt has applied since a time: an erasure has searched the others.
RECENT = """
load_id in (
    select load_id from {database:Identifier}.elt_applied_loads
    where model = 'int_xapi__statements' and recorded_at >= {since:DateTime64(3, 'UTC')}
)
"""
LAST_SEARCH = """
select toString(max(started_at)) as since from {raw:Identifier}.erasures
"""
# Whether erased learners came again: no table has them, but their raw lines are still there.
_ERASED = f"""
select load_id, source_path, source_line
from {{database:Identifier}}.int_xapi__statements
where family = 'erased' and {RECENT}
"""
CAME_AGAIN = f"""
select count() > 0 as came_again
from {{raw:Identifier}}.statements
where load_id in (select load_id from ({_ERASED}))
    and (
        load_id, if(bucket = '', toString(key), concat(bucket, '/', key)), source_line
    ) in ({_ERASED})
    and position(line, {{stub:String}}) = 0
"""
OBJECTS = f"""
select
    found.bucket as bucket,
    found.key as key,
    multiIf(
        objects.status != '', objects.status,
        found.load_id in (
            select load_id from {{raw:Identifier}}.loads where outcome = 'committed'
        ), 'repeated',
        'uncommitted'
    ) as status,
    count() as lines,
    sum(length(found.source_items)) as statements
from ({LINES}) as found
left join (
    select load_id, bucket, key, any(status) as status
    from {{raw:Identifier}}.committed_objects
    group by load_id, bucket, key
) as objects
    on found.load_id = objects.load_id
    and found.bucket = objects.bucket
    and found.key = objects.key
group by bucket, key, status
order by bucket, key, status
settings join_use_nulls = 0
"""
# A line of several statements gets its text in the next statement.
KEEP_LINES = f"""
insert into {{raw:Identifier}}.erasure_lines
    (load_id, bucket, key, source_line, source_items, line)
select
    load_id, bucket, key, source_line, source_items,
    if(is_plain or source_items = [0], erased_line, '')
from ({LINES})
"""

# The other statements of a line keep their bytes, because the id of an event without a statement id
# is a hash of them. Where they are not in the line as they are (in an envelope of text), or are so
# many that looking for each would take too long, the line becomes a list of them.
KEEP_LONG_LINES = """
insert into {raw:Identifier}.erasure_lines
    (load_id, bucket, key, source_line, source_items, line)
select
    load_id, bucket, key, source_line,
    arrayMap(item -> item.1, arrayFilter(item -> item.3, items)) as source_items,
    if(
        is_searched
        and arrayAll(item -> position(line, item.2) > 0, searched)
        and arrayAll(item -> item.3 or position(replaced, item.2) > 0, searched),
        replaced,
        concat(
            '[',
            arrayStringConcat(arrayMap(item -> if(item.3, erased_line, item.2), items), ','),
            if(items[-1].3 or isValidJSON(items[-1].2), ']', '')
        )
    )
from (
    select
        *,
        -- Each item gets a copy of the line to search in.
        length(line) * length(items) < 200000000 as is_searched,
        if(is_searched, items, []) as searched,
        arrayFold(
            (text, item) -> replaceAll(text, item.2, erased_line),
            arrayFilter(item -> item.3, searched),
            line
        ) as replaced
    from (
        select
            load_id, bucket, key, source_line,
            any(erased_line) as erased_line,
            arraySort(groupArray((
                source_item,
                item_text,
                (kind != '' and identity_hash in ($wanted)) or has(also.source_items, source_item)
            ))) as items
        from {database:Identifier}.stg_xapi__learners_in_raw as found
        inner join (
            select
                load_id, bucket, key, source_line,
                groupUniqArrayArray(source_items) as source_items
            from {raw:Identifier}.erasure_lines
            where line = '' and source_line > 0
            group by load_id, bucket, key, source_line
        ) as also using (load_id, bucket, key, source_line)
        where found.load_id in (select load_id from {raw:Identifier}.erasure_lines where line = '')
            and not found.is_plain
        group by load_id, bucket, key, source_line
    ) as parsed
    -- Joined last: each statement would get a copy of the line.
    inner join (
        select load_id, toString(bucket) as bucket, toString(key) as key, source_line, line
        from {raw:Identifier}.statements
        where (load_id, toString(bucket), toString(key), source_line) in (
            select load_id, bucket, key, source_line
            from {raw:Identifier}.erasure_lines
            where line = '' and source_line > 0
        )
    ) as lines using (load_id, bucket, key, source_line)
)
"""

# Texts that name the learner, outside of the learner's own statements.
TEXTS = """
select
    toString(load_id) as load_id,
    bucket,
    key,
    source_line,
    source_item,
    kind = '' as is_unparsed,
    if(is_plain or source_item = 0, erased_line, '') as whole
from {database:Identifier}.stg_xapi__learners_in_raw
where (load_id, bucket, key, source_line) in (
        select load_id, bucket, key, source_line
        from {raw:Identifier}.statements
        where multiSearchAnyCaseInsensitiveUTF8(line, {texts:Array(String)})
    )
    and not is_erased
    and not (kind != '' and identity_hash in ($wanted))
    and match(item_text, if(kind = '', {token:String}, {member:String}))
    and (kind = '' or multiSearchAnyCaseInsensitiveUTF8(item_text, {pages:Array(String)}))
order by bucket, key, source_line, source_item
limit {most:UInt64}
"""
KEEP_TEXTS = """
insert into {raw:Identifier}.erasure_lines
    (load_id, bucket, key, source_line, source_items, line)
format JSONEachRow
"""

# Error texts of the ledger that quote the identifiers; line 0 marks them among the work.
ERRORS = """
select count() as rows from {raw:Identifier}.loads where match(error, {token:String})
"""
KEEP_ERRORS = """
insert into {raw:Identifier}.erasure_lines (load_id, bucket, key, source_line)
select distinct load_id, bucket, key, 0
from {raw:Identifier}.loads
where match(error, {token:String})
"""
OVERWRITE_ERRORS = """
alter table {raw:Identifier}.loads $on_cluster
update error = 'the text quoted an erased learner'
where error != '' and (load_id, bucket, key) in (
    select load_id, bucket, key from {raw:Identifier}.erasure_lines where source_line = 0
)
settings mutations_sync = 2, allow_nondeterministic_mutations = 1
"""

# Lines of one statement become the stub; those with other statements get texts of their own.
OVERWRITE_LINES = """
alter table {raw:Identifier}.statements $on_cluster
update line = {stub:String}
where (load_id, toString(bucket), toString(key), source_line) in (
    select load_id, bucket, key, source_line
    from {raw:Identifier}.erasure_lines
    where source_line > 0 and line = {stub:String}
)
settings mutations_sync = 2, allow_nondeterministic_mutations = 1
"""
OVERWRITE_LONG_LINES = """
alter table {raw:Identifier}.statements $on_cluster
update line = transform(
    cityHash64(load_id, toString(bucket), toString(key), source_line),
    (
        select arraySort(groupUniqArray(cityHash64(load_id, bucket, key, source_line)))
        from {raw:Identifier}.erasure_lines
        where source_line > 0 and line not in ('', {stub:String})
    ),
    (
        select arrayMap(long -> long.2, arraySort(groupArray((place, text))))
        from (
            select
                cityHash64(load_id, bucket, key, source_line) as place,
                argMax(line, length(source_items)) as text
            from {raw:Identifier}.erasure_lines
            where source_line > 0 and line not in ('', {stub:String})
            group by load_id, bucket, key, source_line
        )
    ),
    line
)
where (load_id, toString(bucket), toString(key), source_line) in (
    select load_id, bucket, key, source_line
    from {raw:Identifier}.erasure_lines
    where source_line > 0 and line not in ('', {stub:String})
)
settings mutations_sync = 2, allow_nondeterministic_mutations = 1
"""
STUB = """
select any(erased_line) as stub
from (select erased_line from {database:Identifier}.stg_xapi__learners_in_raw limit 1)
"""
COUNT_WORK = """
select
    uniqExactIf((load_id, bucket, key, source_line), source_line > 0 and line != '') as lines,
    uniqExactIf(
        (load_id, bucket, key, source_line), source_line > 0 and line not in ('', {stub:String})
    ) as long_lines,
    countIf(source_line = 0) as errors
from {raw:Identifier}.erasure_lines
"""
