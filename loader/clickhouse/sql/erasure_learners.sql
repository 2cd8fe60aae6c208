-- Work of an erasure that is not done: pseudonyms whose rows leave the tables. Empty afterwards. A
-- run that was killed goes on from here.
create table if not exists {raw:Identifier}.erasure_learners $on_cluster
(
    learner_id String comment 'Pseudonym of an erased learner'
)
engine = ${replicated}MergeTree
order by learner_id
comment 'Pseudonyms that a running erasure removes from the tables'
