-- compatible with 1
-- Exchanges that are planned once in a session, and whose marks are not compressed.

-- The planner made another plan for almost every call, which took as long as 40 jobs. Every plan of
-- these statements walks an index, whatever the parameters are.
ALTER FUNCTION exchange_plain SET plan_cache_mode = 'force_generic_plan';

-- The numbers of a thousand jobs: compressing them takes longer than writing them.
ALTER TABLE commit_mark ALTER COLUMN claimed SET STORAGE EXTERNAL,
    ALTER COLUMN leases SET STORAGE EXTERNAL, ALTER COLUMN lost SET STORAGE EXTERNAL;
