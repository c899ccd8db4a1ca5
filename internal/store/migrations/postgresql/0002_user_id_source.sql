-- From here on users.stable_id has the source of the ID after a line feed. A
-- user of before is the one who signs in with that ID first. The table stays as
-- it is: a release before this one, which a rollout replaces, goes on by IDs
-- without a source. Whom it makes known meanwhile is taken over likewise.
SELECT 1;
