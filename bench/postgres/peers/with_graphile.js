// graphile-worker: node with_graphile.js COMMAND COUNT, the same as producer.py, and "worker".
const fs = require('fs');
const { Logger, makeWorkerUtils, run, runMigrations } = require('graphile-worker');

const COROUTINES = 64, BATCH = 1000, GAP_MS = 20;
const logger = new Logger(() => () => {});
const worker = {
  connectionString: process.env.BENCH_PG, logger, concurrentJobs: 24, maxPoolSize: 10,
  pollInterval: 2000, preparedStatements: true,
};
// As its author measures it: jobs are fetched ahead, and completed in batches.
const preset = {
  worker: { ...worker, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
};
let file;
const marks = () => file ?? (file = fs.openSync(process.env.BENCH_MARKS, 'a'));
const taskList = {
  mark: async () => { fs.writeSync(marks(), 'x'); },
  stamp: async ({ at }) => {
    const pair = Buffer.alloc(16);
    pair.writeBigInt64LE(BigInt(at), 0);
    pair.writeBigInt64LE(process.hrtime.bigint(), 8);
    fs.writeSync(marks(), pair);
  },
};
const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const started = () => new Promise((resolve) => process.stdin.once('data', resolve));

async function main(command, count) {
  if (command === 'setup') return runMigrations({ preset });
  if (command === 'worker') return (await run({ preset, taskList })).promise;
  const utils = await makeWorkerUtils({ preset: { worker } });
  const one = async (times) => {
    for (let n = 0; n < times; n++) await utils.addJob('mark', {});
  };
  const many = (times) =>
    Promise.all(Array.from({ length: COROUTINES }, () => one(Math.floor(times / COROUTINES))));
  const bulk = async (times) => {
    for (let n = 0; n < times; n += BATCH) {
      const size = Math.min(BATCH, times - n);
      await utils.addJobs(
        Array.from({ length: size }, () => ({ identifier: 'mark', payload: {} })));
    }
  };
  const probe = async (times) => {
    for (let n = 0; n < times; n++) {
      await pause(GAP_MS);
      await utils.addJob('stamp', { at: String(process.hrtime.bigint()) });
    }
  };
  const work = { one, many, bulk, probe }[command];
  if (command === 'one' || command === 'many') await work(COROUTINES);
  if (command === 'bulk') await utils.addJobs([{ identifier: 'mark', payload: {} }]);
  const go = started();
  console.log('ready');
  await go;
  const began = seconds(), before = process.cpuUsage();
  await work(count);
  const ended = seconds(), used = process.cpuUsage(before);
  console.log(JSON.stringify({ began, ended, cpu: (used.user + used.system) / 1e6 }));
  process.exit(0);
}

main(process.argv[2], Number(process.argv[3])).then(
  () => process.exit(0),
  (error) => { console.error(error); process.exit(1); },
);
