-- Producers whose statements are filed wrongly, or that say nothing of who they are.
select
    home_page,
    family,
    reject_reason,
    statements,
    learners,
    share_without_section,
    share_with_unread_session,
    unread_session_key,
    share_of_unknown_verbs,
    unknown_verbs,
    last_seen_at
from ops_producers
where
    share_without_section > 0
    or share_with_unread_session > 0
    or share_of_unknown_verbs > 0
    or home_page = ''
order by
    statements desc,
    home_page,
    family
limit {limit:UInt32}
