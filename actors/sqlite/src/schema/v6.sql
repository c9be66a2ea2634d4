DROP INDEX thread_path;
ALTER TABLE thread ADD COLUMN root INTEGER;
UPDATE thread SET root = (
  WITH RECURSIVE above(pk, parent) AS (
    SELECT p.pk, p.parent FROM thread p WHERE p.id = thread.parent AND p.hidden = 0
    UNION
    SELECT p.pk, p.parent FROM above a JOIN thread p ON p.id = a.parent AND p.hidden = 0
  )
  SELECT above.pk FROM above WHERE above.parent IS NULL
) WHERE parent IS NOT NULL AND hidden = 0;
UPDATE thread SET crc = seal(pk, id, hidden, parent, edge, base, base_cut, head_base, depth, path, rollout_path,
  created_ms, archived_ms, damaged_seq, name, title, preview, git_sha, git_branch, git_origin_url,
  cwd, model, source, thread_source, nickname, role, config, root)
WHERE crc = seal(pk, id, hidden, parent, edge, base, base_cut, head_base, depth, path, rollout_path,
  created_ms, archived_ms, damaged_seq, name, title, preview, git_sha, git_branch, git_origin_url,
  cwd, model, source, thread_source, nickname, role, config);
CREATE INDEX thread_path ON thread(root, path) WHERE path IS NOT NULL AND edge = 'open' AND hidden = 0;
CREATE INDEX thread_nickname ON thread(root, nickname)
  WHERE nickname IS NOT NULL AND edge = 'open' AND hidden = 0;
