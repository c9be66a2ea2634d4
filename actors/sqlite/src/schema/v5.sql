CREATE INDEX thread_path ON thread(parent, path) WHERE path IS NOT NULL AND edge = 'open';
