{{ config(contract = named_tuples_have_no_contract()) }}

{%- set max_speed = var('video_max_speed') | float %}
{%- set clock_slack = var('video_clock_slack') | float %}

with

player_events as (

    select * from {{ ref('int_player_events').render() }}

),

-- One row per player, with its events in their order.
players as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        player_session_id,
        player_page_id,
        player_page_attempt_guid,
        player_content_element_id,
        count() as events,
        groupBitXor(event_hash) as events_hash,
        min(timestamp) as first_at,
        max(timestamp) as last_at,
        arraySort(
            groupArray(
                (timestamp, indexOf({{ player_verbs() }}, verb), event_id, place, place_after)
            )
        ) as walk,
        groupUniqArrayArray(splitByString('[,]', reported_segments)) as reported_texts

    from player_events

    group by
        section_id,
        course_id,
        learner_id,
        video_key,
        player_session_id,
        player_page_id,
        player_page_attempt_guid,
        player_content_element_id

),

-- A stretch is open after an event if the latest of played, paused, terminated and initialized is
-- played. A jump begins another stretch where one is open.
walks as (

    select
        *,
        arrayMap(event -> toUnixTimestamp64Milli(event.1), walk) as times,
        arrayMap(event -> event.2, walk) as verbs,
        arrayMap(event -> event.4, walk) as places,
        arrayMap(event -> event.5, walk) as places_after,
        arrayFill(
            verb -> verb not in (
                0,
                {{ player_verb('completed') }},
                {{ player_verb('seeked') }},
                {{ player_verb('interacted') }}
            ),
            verbs
        ) as states,
        arrayMap(
            state -> state = {{ player_verb('played') }},
            {{ shifted('states', '0') }}
        ) as is_open_before,
        arrayMap(
            (verb, is_open) -> verb = {{ player_verb('played') }}
            or (verb = {{ player_verb('seeked') }} and is_open),
            verbs,
            is_open_before
        ) as is_begin

    from players

),

-- Each event with the stretch that is open before it: its place, if the clock allows that the
-- player reached it from where the stretch began, else -1. The next play says how far it went on
-- only if the time since then was about long enough.
reached as (

    select
        *,
        arrayFill((place, is_begun) -> is_begun, places_after, is_begin) as begun_places,
        arrayFill((time, is_begun) -> is_begun, times, is_begin) as begun_times,
        arrayMap(
            (time, begun_time) -> (time - begun_time) / 1000,
            times,
            {{ shifted('begun_times', 'times[1]') }}
        ) as elapsed_seconds,
        arrayMap(
            (place, begun_place) -> if(begun_place >= 0, place - begun_place, -1.0),
            places,
            {{ shifted('begun_places', '-1.0') }}
        ) as advances,
        arrayMap(
            (verb, is_open, place, elapsed, advance) -> if(
                is_open
                and verb not in (0, {{ player_verb('initialized') }})
                and place >= 0
                and advance > 0
                and advance <= elapsed * {{ max_speed }} + {{ clock_slack }}
                and (verb != {{ player_verb('played') }} or elapsed <= 1.1 * advance + 15),
                place,
                -1.0
            ),
            verbs,
            is_open_before,
            places,
            elapsed_seconds,
            advances
        ) as reached_places

    from walks

),

-- A stretch ends at the furthest place that was reached up to the beginning of the next one.
stretched as (

    select
        *,
        arrayFilter((position, is_begun) -> is_begun, arrayEnumerate(verbs), is_begin) as begins,
        arrayReduceInRanges(
            'max',
            arrayMap(
                (begin, next) -> (begin + 1, toUInt64(next - begin)),
                begins,
                {{ next_of('begins', 'length(verbs)') }}
            ),
            reached_places
        ) as end_places,
        arrayZip(
            arrayFilter((place, is_begun) -> is_begun, places_after, is_begin),
            end_places,
            arrayFilter((time, is_begun) -> is_begun, times, is_begin),
            arrayFilter((verb, is_begun) -> is_begun, verbs, is_begin)
        ) as begun_stretches,
        arrayFilter(stretch -> stretch.2 > 0, begun_stretches) as stretches

    from reached

),

reported as (

    select
        *,
        {{ segments_of('reported_texts') }} as segments,
        {{ borders_of('segments') }} as segment_borders,
        {{ covered_seconds('segment_borders') }} as segment_seconds

    from stretched

),

-- Reported segments fill what pairing lost, if the player had the time to play them; and they are
-- all there is of a player without plays.
measured_players as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        player_session_id,
        events,
        events_hash,
        first_at,
        last_at,
        stretches,
        segments,
        arrayCount(
            (verb, place) -> verb = {{ player_verb('played') }} and place >= 0,
            verbs,
            places
        ) as plays,
        arrayCount(
            (verb, place) -> verb = {{ player_verb('played') }} and place between 0 and 30,
            verbs,
            places
        ) as starts,
        arrayCount(verb -> verb = {{ player_verb('completed') }}, verbs) as completions,
        arrayCount(
            stretch -> stretch.4 = {{ player_verb('played') }}
            and stretch.1 >= 0
            and stretch.2 <= 0,
            begun_stretches
        ) as plays_without_end,
        if(
            plays = 0
            or (
                plays_without_end > 0
                and segment_seconds <= dateDiff('millisecond', first_at, last_at) / 1000
                * {{ max_speed }} + {{ clock_slack }}
            ),
            segments,
            []
        ) as used_segments,
        arrayLast(event -> event.5 >= 0, walk) as last_placed_event,
        arrayConcat(
            arrayMap(
                (time, verb, place) -> (
                    toDate(intDiv(time, 86400000)),
                    1,
                    verb = {{ player_verb('played') }} and place >= 0,
                    verb = {{ player_verb('completed') }},
                    0.0
                ),
                times,
                verbs,
                places
            ),
            arrayMap(
                stretch -> (
                    toDate(intDiv(stretch.3, 86400000)), 0, 0, 0, stretch.2 - stretch.1
                ),
                stretches
            )
        ) as day_parts

    from reported

),

learners as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        sum(measured.events) as events,
        groupBitXor(measured.events_hash) as events_hash,
        uniqExactIf(player_session_id, measured.plays > 0 and player_session_id != '')
        + countIf(measured.plays > 0 and player_session_id = '') as sessions,
        sum(measured.plays) as plays,
        sum(measured.plays_without_end) as plays_without_end,
        sum(measured.starts) as starts,
        sum(measured.completions) as completions,
        min(measured.first_at) as first_at,
        max(measured.last_at) as last_at,
        groupArrayArray(measured.stretches) as stretches,
        groupArrayArray(measured.used_segments) as used_segments,
        groupArrayArray(measured.segments) as segments,
        max(measured.last_placed_event) as last_placed_event,
        sumMap(
            day_parts.1, day_parts.2, day_parts.3, day_parts.4, day_parts.5
        ) as day_sums

    from measured_players as measured

    group by
        section_id,
        course_id,
        learner_id,
        video_key

),

-- How often each place was played: once per stretch, at least once where a used segment is.
counted as (

    select
        *,
        arraySort(
            arrayConcat(
                arrayMap(stretch -> (stretch.1, 1, 0), stretches),
                arrayMap(stretch -> (stretch.2, -1, 0), stretches),
                arrayMap(segment -> (segment.1, 0, 1), used_segments),
                arrayMap(segment -> (segment.2, 0, -1), used_segments)
            )
        ) as borders,
        arrayFilter(
            part -> part.1 < part.2 and part.3 > 0,
            arrayZip(
                borders.1,
                {{ next_of('borders.1', '-1.0') }},
                arrayMap(
                    (depth, reported_depth) -> greatest(depth, toInt64(reported_depth > 0)),
                    arrayCumSum(borders.2),
                    arrayCumSum(borders.3)
                )
            )
        ) as parts,
        arrayMap(
            (part, before) -> part.1 != before.2 or part.3 != before.3,
            parts,
            {{ shifted('parts', '(-1.0, -1.0, 0)') }}
        ) as is_first_of_piece,
        {{ borders_of('stretches') }} as stretch_borders,
        {{ borders_of('segments') }} as segment_borders

    from learners

),

-- Adjacent parts that were played equally often are one piece.
pieced as (

    select
        *,
        arrayZip(
            arrayFilter((part, is_first) -> is_first, parts, is_first_of_piece) .1,
            arrayFilter(
                (part, is_last) -> is_last,
                parts,
                {{ next_of('is_first_of_piece', '1') }}
            ) .2,
            arrayFilter((part, is_first) -> is_first, parts, is_first_of_piece) .3
        ) as pieces_found

    from counted

),

learner_videos as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        events,
        events_hash,
        sessions,
        plays,
        plays_without_end,
        starts,
        completions,
        first_at,
        last_at,
        cast(pieces_found as {{ pieces_type() }}) as pieces,
        arraySum(piece -> piece.2 - piece.1, pieces_found) as seconds_seen,
        arraySum(piece -> (piece.2 - piece.1) * piece.3, pieces_found) as seconds_played,
        arraySum(
            piece -> (piece.2 - piece.1) * (piece.3 - 1), pieces_found
        ) as seconds_rewatched,
        {{ covered_seconds('segment_borders') }} as reported_seconds,
        {{ covered_seconds('stretch_borders') }} as paired_seconds,
        if(
            last_placed_event.5 >= 0 and last_placed_event.1 > toDateTime64(0, 3, 'UTC'),
            last_placed_event.5,
            null
        ) as last_place,
        cast(
            arrayZip(
                day_sums.1, day_sums.2, day_sums.3, day_sums.4, day_sums.5
            ) as {{ days_type() }}
        ) as days

    from pieced

)

select * from learner_videos
