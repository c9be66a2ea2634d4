CREATE INDEX thread_path ON thread(parent, path) WHERE path IS NOT NULL AND edge = 'open';
CREATE TABLE task(
  thread INTEGER PRIMARY KEY,
  text TEXT NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
DROP VIEW threads;
CREATE VIEW threads AS
SELECT
  t.id AS thread,
  s.status AS status,
  n.text AS status_text,
  t.name AS name,
  t.title AS title,
  t.preview AS preview,
  coalesce(k.text, t.preview) AS last_task,
  t.path AS path,
  t.nickname AS nickname,
  t.role AS role,
  t.parent AS parent,
  t.edge AS edge,
  t.depth AS depth,
  t.base AS forked_from,
  t.base_cut AS forked_at,
  s.head AS records,
  s.epoch AS epoch,
  (SELECT count(*) FROM submission b WHERE b.thread = t.pk AND b.outcome IS NULL) AS open_submissions,
  (SELECT count(*) FROM mail m WHERE m.reader = t.pk AND m.body IS NOT NULL) AS unread_mail,
  datetime(t.created_ms / 1000, 'unixepoch') AS created,
  datetime(s.updated_ms / 1000, 'unixepoch') AS updated,
  datetime(t.archived_ms / 1000, 'unixepoch') AS archived,
  t.damaged_seq AS damaged_at,
  t.cwd AS cwd,
  t.model AS model,
  t.rollout_path AS rollout_path
FROM thread t
JOIN state s ON s.thread = t.pk
LEFT JOIN status_text n ON n.thread = t.pk
LEFT JOIN task k ON k.thread = t.pk
WHERE t.hidden = 0;
