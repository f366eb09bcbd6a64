-- River's own tables are made by its migrator in the schema "river". Nothing here
-- searches tickets by their arguments or metadata, and the two GIN indexes cost a
-- third of a ticket's bytes and half of a bulk insert.
DROP INDEX IF EXISTS river.river_job_args_index;
DROP INDEX IF EXISTS river.river_job_metadata_index;

ALTER TABLE river.river_job SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);
