"""What each chart of the bundle must show: SQL on the marts, written apart from the bundle."""

SECTION = "section_id = {section:UInt64}"
VIDEO = f"{SECTION} and video_key = {{video:String}}"

EXPECTED = {
    "section_learners": f"""
        select count(distinct learner_id) as learners
        from xapi.fct_learner_activity where {SECTION}
    """,
    "section_learners_away": f"""
        select count() as learners_away
        from (
            select learner_id from xapi.fct_learner_activity where {SECTION}
            group by learner_id having min(days_since_last) >= 7
        )
    """,
    "section_views": f"select sum(views) as views_of_videos from xapi.fct_videos where {SECTION}",
    "section_watch_time": f"""
        select sum(minutes_played) as watch_minutes from xapi.fct_videos where {SECTION}
    """,
    "section_answers": f"select sum(attempts) as answers from xapi.fct_questions where {SECTION}",
    "section_days": f"""
        select day, plays as video_plays, page_views as views_of_pages, attempts as answers
        from xapi.fct_section_days where {SECTION}
    """,
    "section_hours": f"""
        select hour, weekday, events as events_of_the_hour
        from xapi.fct_section_hours where {SECTION}
    """,
    "section_videos_seen": f"""
        select
            course_id, videos_from, videos, learners_from, learners, learners_none, learners_some,
            learners_all, mean_share
        from xapi.fct_section_videos where {SECTION}
    """,
    "section_questions": f"""
        select
            activity_id, part_id, learners, attempts, first_try_correct_share,
            eventually_correct_share, hints_per_learner
        from xapi.fct_questions where {SECTION} and learners >= 5
        order by first_try_correct_share, learners desc, activity_id, part_id
    """,
    "section_pages": f"""
        select
            page_id, learners, views, attempts, mean_best_share, completed_share,
            median_minutes_to_attempt
        from xapi.fct_pages where {SECTION} and learners >= 5
        order by views desc, page_id
    """,
    "videos": f"""
        select
            if(title like '%://%', video_key, title || ' (' || video_key || ')') as video,
            chapter, length, learners, views, minutes_played, mean_share_seen, watched_share,
            rewatch_share, drop_off_place, lost_share
        from xapi.fct_videos inner join xapi.dim_videos using (section_id, course_id, video_key)
        where {SECTION}
        order by video
    """,
    "video_retention": f"""
        select place, viewers as viewers_here, repeats as repeats_here
        from xapi.fct_video_retention where {VIDEO}
    """,
    "video_seeks": f"""
        select from_place, to_place, seeks, learners, forward
        from xapi.fct_video_seeks where {VIDEO}
        order by seeks desc, learners desc, from_place, to_place
    """,
    "video_days": f"select day, plays as plays_of_the_day from xapi.fct_video_days where {VIDEO}",
    "video_trust": f"""
        select
            producer, plays, lost_share, paired_seconds, reported_only_seconds,
            progress_differs_share, several_lengths, places_beyond_length
        from xapi.ops_video_pairing where {SECTION} order by plays desc, producer
    """,
    "pipeline_wrong": """
        select missing + surplus + doubled as wrong from xapi.ops_statement_balance
        where family = 'all'
    """,
    "pipeline_waiting": "select max(lines_waiting) as most_lines_waiting from xapi.ops_freshness",
    "pipeline_balance": """
        select
            family, statements, events, duplicates, rejected, other, blank, erased, voided,
            waiting, missing, surplus, doubled
        from xapi.ops_statement_balance order by statements desc, family
    """,
    "pipeline_freshness": """
        select
            table_name, row_count, bytes, newest_event_at, newest_load_at, loads_waiting,
            lines_waiting, lag_seconds
        from xapi.ops_freshness order by lag_seconds desc, table_name
    """,
    "pipeline_days": """
        select
            day, events as new_events, duplicates as sent_again, rejected as lines_rejected,
            other as of_no_table
        from xapi.ops_daily
    """,
    "pipeline_failed": """
        select committed_at, status, mode, bucket, key, error
        from xapi.ops_objects where status not in ('visible', 'repeated', 'superseded')
        order by committed_at desc, key
    """,
    "pipeline_rejected": """
        select reason, count() as lines_rejected from xapi.rejected_statements group by reason
    """,
    "pipeline_producers": """
        select
            home_page, family, reject_reason, statements, learners, share_without_section,
            share_with_unread_session, share_of_unknown_verbs, last_seen_at
        from xapi.ops_producers order by statements desc, home_page, family, reject_reason
    """,
    "pipeline_sections": f"""
        select
            section_id, course_id, objects, statements, events, duplicates, rejected, waiting,
            last_event_at, last_load_at
        from xapi.ops_sections where {SECTION} order by statements desc, section_id, course_id
    """,
}
