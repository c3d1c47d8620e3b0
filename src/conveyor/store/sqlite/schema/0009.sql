-- A unique key is one of a task in a queue; before, it was one of a task in all queues.
UPDATE job SET unique_key =
    (SELECT queue FROM lane WHERE lane.id = job.lane) || char(0) || unique_key
WHERE unique_key IS NOT NULL;
