-- Which jobs a waiting request would add, and which contents they need: looked up by every sweep of
-- contents and by every repeated request.
CREATE TABLE offered_job (
    id TEXT NOT NULL,
    offer INTEGER NOT NULL,
    PRIMARY KEY (id, offer)
) STRICT, WITHOUT ROWID;
CREATE INDEX offered_job_offer ON offered_job (offer);

CREATE TABLE offered_file (
    digest TEXT NOT NULL,
    offer INTEGER NOT NULL,
    PRIMARY KEY (digest, offer)
) STRICT, WITHOUT ROWID;
CREATE INDEX offered_file_offer ON offered_file (offer);

INSERT OR IGNORE INTO offered_job (id, offer)
SELECT json_extract(new.value, '$.id'), offer.seq
FROM offer, json_each(CAST(offer.request AS TEXT)) AS new;

INSERT OR IGNORE INTO offered_file (digest, offer)
SELECT json_extract(file.value, '$.digest'), offer.seq
FROM offer, json_each(CAST(offer.request AS TEXT)) AS new,
    json_each(new.value, '$.options.files') AS file;
