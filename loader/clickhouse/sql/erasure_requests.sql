-- The identities that a running xapi-elt erase looks for. In memory, because they must not be on disk.
create table if not exists {raw:Identifier}.erasure_requests $on_cluster
(
    request_id UUID comment 'The run of xapi-elt erase',
    kind String comment 'account, mbox, mbox_sha1sum or openid',
    home_page String comment 'Home page of an account, else empty',
    user_id String comment 'Name of the account, or the other identifier',
    added_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When it was added'
)
engine = Memory
comment 'Identities that a running erasure looks for'
