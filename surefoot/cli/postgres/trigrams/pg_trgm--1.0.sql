-- Prefect's migrations ask for the extension pg_trgm and create GIN indexes with its operator class. The packaged
-- PostgreSQL has no contrib modules. This operator class has no operators, so the planner never uses such an index, and
-- no keys, so it costs one empty entry a row: a search for a part of a name reads the table, as it does in SQLite.
-- 'void_in' is a function of the server that looks at no argument and returns zero: no keys.
CREATE FUNCTION trgm_no_keys(text, internal) RETURNS internal
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'void_in';
CREATE FUNCTION trgm_no_query(text, internal, smallint, internal, internal) RETURNS internal
  LANGUAGE internal IMMUTABLE PARALLEL SAFE AS 'void_in';
CREATE FUNCTION trgm_never(internal, smallint, text, integer, internal, internal) RETURNS boolean
  LANGUAGE internal IMMUTABLE PARALLEL SAFE AS 'void_in';
CREATE OPERATOR CLASS gin_trgm_ops FOR TYPE text USING gin AS
  FUNCTION 1 btint4cmp(integer, integer),
  FUNCTION 2 trgm_no_keys(text, internal),
  FUNCTION 3 trgm_no_query(text, internal, smallint, internal, internal),
  FUNCTION 4 trgm_never(internal, smallint, text, integer, internal, internal),
  STORAGE integer;
