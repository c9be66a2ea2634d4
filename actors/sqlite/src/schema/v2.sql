ALTER TABLE thread ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE thread SET crc = seal(pk, id, hidden, parent, edge, base, base_cut, head_base, depth, path, rollout_path,
  created_ms, archived_ms, damaged_seq, name, title, preview, git_sha, git_branch, git_origin_url,
  cwd, model, source, thread_source, nickname, role, config);
ALTER TABLE state ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE state SET crc = seal(thread, head, settled, epoch, appends, updated_ms, status);
ALTER TABLE status_text ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE status_text SET crc = seal(thread, text);
ALTER TABLE lineage ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE lineage SET crc = seal(thread, ord, src, lo, hi);
ALTER TABLE submission ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE submission SET crc = seal(pk, thread, id, digest, seq, attempt, outcome, body);
ALTER TABLE mail ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE mail SET crc = seal(pk, reader, id, trigger, body);
CREATE TABLE garbage(
  thread INTEGER PRIMARY KEY
) STRICT;
CREATE VIEW threads AS
SELECT
  t.id AS thread,
  s.status AS status,
  n.text AS status_text,
  t.name AS name,
  t.title AS title,
  t.preview AS preview,
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
WHERE t.hidden = 0;
CREATE VIEW records AS
SELECT
  p.thread AS thread,
  r.seq AS seq,
  CASE r.kind
    WHEN 1 THEN 'meta'
    WHEN 2 THEN 'user_message'
    WHEN 3 THEN 'contextual_user_message'
    WHEN 4 THEN 'developer_message'
    WHEN 5 THEN 'assistant_message'
    WHEN 6 THEN 'envelope'
    WHEN 7 THEN 'reasoning'
    WHEN 8 THEN 'tool_call'
    WHEN 9 THEN 'tool_output'
    WHEN 10 THEN 'other_item'
    WHEN 12 THEN 'turn_started'
    WHEN 13 THEN 'turn_completed'
    WHEN 14 THEN 'turn_aborted'
    WHEN 15 THEN 'rolled_back'
    WHEN 16 THEN 'compaction'
    WHEN 17 THEN 'turn_context'
    WHEN 18 THEN 'user_event'
    WHEN 19 THEN 'agent_event'
    WHEN 20 THEN 'error_event'
    WHEN 21 THEN 'usage'
    WHEN 22 THEN 'other'
    WHEN 23 THEN 'opaque'
    ELSE 'later'
  END AS kind,
  r.ref AS names,
  datetime(r.at_ms / 1000, 'unixepoch') AS at,
  CASE WHEN r.thread <> p.pk THEN r.thread END AS shared_with,
  CAST(r.raw AS TEXT) AS line
FROM (
  SELECT t.id AS thread, t.pk AS pk, l.src AS src, l.lo AS lo, l.hi AS hi
  FROM thread t JOIN lineage l ON l.thread = t.pk
  WHERE t.hidden = 0
  UNION ALL
  SELECT t.id, t.pk, t.pk, t.head_base, 9223372036854775807
  FROM thread t
  WHERE t.hidden = 0
) p
JOIN record r ON r.thread = p.src AND r.seq >= p.lo AND r.seq < p.hi;
CREATE VIEW tree AS
WITH RECURSIVE below(root, thread, level, line, way) AS (
  SELECT t.id, t.id, 0, coalesce(t.path, t.name, t.nickname, t.id), '/' || t.id
  FROM thread t
  WHERE t.hidden = 0 AND t.parent IS NULL
  UNION ALL
  SELECT b.root, t.id, b.level + 1, coalesce(t.path, t.name, t.nickname, t.id), b.way || '/' || t.id
  FROM below b JOIN thread t ON t.parent = b.thread
  WHERE t.hidden = 0 AND instr(b.way, t.id) = 0
)
SELECT
  b.root AS root,
  b.level AS level,
  printf('%.*c%s', b.level * 2, ' ', b.line) AS line,
  b.thread AS thread,
  t.edge AS edge,
  s.status AS status,
  s.head AS records
FROM below b
JOIN thread t ON t.id = b.thread AND t.hidden = 0
JOIN state s ON s.thread = t.pk
ORDER BY b.way;
