-- An installation knows the database it lives in, so that a copy of it is known for one.
ALTER TABLE runglass.installation ADD COLUMN database_identity text;

-- include installation.sql 70595db49e6b
UPDATE runglass.installation SET database_identity = runglass.database_identity();
