DROP INDEX record_turn;
CREATE INDEX record_mark ON record(thread, kind, seq)
  WHERE kind = 1 OR kind = 2 OR kind = 12 OR kind = 15 OR kind = 16 OR kind = 17;
