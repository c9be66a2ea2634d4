CREATE TABLE meta(
  key TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE thread(
  pk INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  hidden INTEGER NOT NULL DEFAULT 0,
  parent TEXT,
  edge TEXT CHECK(edge IN ('open', 'closed')),
  base TEXT,
  base_cut INTEGER,
  head_base INTEGER NOT NULL,
  depth INTEGER NOT NULL,
  path TEXT,
  rollout_path TEXT,
  created_ms INTEGER NOT NULL,
  archived_ms INTEGER,
  damaged_seq INTEGER,
  name TEXT,
  title TEXT,
  preview TEXT,
  git_sha TEXT,
  git_branch TEXT,
  git_origin_url TEXT,
  cwd TEXT,
  model TEXT,
  source TEXT,
  thread_source TEXT,
  nickname TEXT,
  role TEXT,
  config TEXT
) STRICT;
CREATE UNIQUE INDEX thread_id ON thread(id) WHERE hidden = 0;
CREATE INDEX thread_parent ON thread(parent, id) WHERE parent IS NOT NULL;
CREATE INDEX thread_created ON thread(created_ms, id) WHERE hidden = 0;
CREATE TABLE state(
  thread INTEGER PRIMARY KEY,
  head INTEGER NOT NULL,
  settled INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  appends INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  status TEXT NOT NULL
) STRICT;
CREATE TABLE status_text(
  thread INTEGER PRIMARY KEY,
  text TEXT NOT NULL
) STRICT;
CREATE TABLE lineage(
  thread INTEGER NOT NULL,
  ord INTEGER NOT NULL,
  src INTEGER NOT NULL,
  lo INTEGER NOT NULL,
  hi INTEGER NOT NULL,
  PRIMARY KEY(thread, ord)
) STRICT, WITHOUT ROWID;
CREATE INDEX lineage_src ON lineage(src, hi);
CREATE TABLE record(
  thread INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  detail INTEGER NOT NULL,
  ref TEXT,
  crc INTEGER NOT NULL,
  raw BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_place ON record(thread, seq);
CREATE INDEX record_turn ON record(thread, seq) WHERE kind IN (12, 15, 16, 17);
CREATE TABLE submission(
  pk INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  id TEXT NOT NULL,
  digest BLOB NOT NULL,
  seq INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  outcome TEXT,
  body BLOB
) STRICT;
CREATE UNIQUE INDEX submission_id ON submission(thread, id);
CREATE INDEX submission_open ON submission(thread) WHERE outcome IS NULL;
CREATE TABLE mail(
  pk INTEGER PRIMARY KEY,
  reader INTEGER NOT NULL,
  id TEXT NOT NULL,
  trigger INTEGER NOT NULL,
  body TEXT
) STRICT;
CREATE UNIQUE INDEX mail_id ON mail(reader, id);
CREATE INDEX mail_unread ON mail(reader, trigger) WHERE body IS NOT NULL;
