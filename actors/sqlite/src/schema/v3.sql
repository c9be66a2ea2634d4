CREATE TABLE account(
  thread INTEGER PRIMARY KEY,
  ledger TEXT,
  charged TEXT,
  crc INTEGER NOT NULL
) STRICT;
CREATE TABLE crash(
  pk INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  body TEXT NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX crash_thread ON crash(thread, pk);
CREATE VIEW budgets AS
SELECT
  t.id AS thread,
  json_extract(a.ledger, '$.budget.tokens') AS tokens,
  json_extract(a.ledger, '$.spent.tokens') AS tokens_spent,
  json_extract(a.ledger, '$.carved.tokens') AS tokens_carved,
  json_extract(a.ledger, '$.budget.cost_micros') / 1000000.0 AS cost,
  json_extract(a.ledger, '$.spent.cost_micros') / 1000000.0 AS cost_spent,
  json_extract(a.ledger, '$.carved.cost_micros') / 1000000.0 AS cost_carved,
  json_extract(a.ledger, '$.budget.wall_ms') / 1000.0 AS seconds,
  json_extract(a.ledger, '$.spent.wall_ms') / 1000.0 AS seconds_spent,
  json_extract(a.ledger, '$.carved.wall_ms') / 1000.0 AS seconds_carved,
  json_extract(a.ledger, '$.budget.spawns') AS spawns,
  json_extract(a.ledger, '$.spent.spawns') AS spawns_spent,
  json_extract(a.ledger, '$.carved.spawns') AS spawns_carved
FROM account a
JOIN thread t ON t.pk = a.thread
WHERE t.hidden = 0 AND a.ledger IS NOT NULL;
CREATE VIEW crashes AS
SELECT
  t.id AS thread,
  datetime(json_extract(c.body, '$.at_ms') / 1000, 'unixepoch') AS at,
  json_extract(c.body, '$.epoch') AS epoch,
  json_extract(c.body, '$.turn') AS turn,
  json_extract(c.body, '$.seq') AS seq,
  json_extract(c.body, '$.place') AS place,
  json_extract(c.body, '$.cause') AS cause
FROM crash c
JOIN thread t ON t.pk = c.thread
WHERE t.hidden = 0
ORDER BY c.pk;
