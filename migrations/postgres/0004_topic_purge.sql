-- Deleted topics are listed, and each SPU's session looks for replicas that are to be
-- removed: both by state. A generation in the state 'purging' loses a row of replicas with
-- each confirmation of its holders, and goes itself with the last.
CREATE INDEX topic_generations_by_state ON topic_generations (org_id, cluster_id, state);
