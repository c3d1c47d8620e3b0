// Uses the client that @hey-api/openapi-ts makes from openapi.json, and prints what it got.
import { client } from './client/client.gen';
import { claim, extend, find, get, health, insert, queueInfo, setProgress, settle } from './client';

declare const process: { argv: string[] };

async function main(url: string, token: string): Promise<void> {
  client.setConfig({ baseUrl: url, auth: token });
  const path = { queue: 'mail' };
  const jobs = [
    { id: 'one', task: 'send', args: { to: 'ann' }, options: { retries: 2 } },
    { id: 'two', task: 'send' },
  ];
  const inserted = await insert({ path, body: { jobs, capacity: 2 } });
  const duplicate = await insert({ path, body: { jobs: [{ id: 'one', task: 'send' }] } });
  const three = ['a', 'b', 'c'].map((id) => ({ id, task: 'send' }));
  const large = await insert({ path, body: { jobs: three } });
  const claimed = await claim({
    path: { worker: 'w' },
    body: { wants: [{ queue: 'mail', limit: 1 }], confirm_within: 10 },
  });
  const job = claimed.data!.jobs[0];
  const lease = { id: job.id, lease: job.lease! };
  const confirmed = await extend({ body: { leases: [lease] } });
  const progress = await setProgress({ body: { reports: [[lease, { done: 1, total: 2 }]] } });
  const outcome = { type: 'succeeded' as const, result: { sent: true } };
  const settled = await settle({ body: { reports: [{ ...lease, outcome }] } });
  const shown = await get({ path: { job_id: job.id } });
  const page = await find({ query: { queue: 'mail', limit: 1 } });
  const before = Number(page.response!.headers.get('Next-Cursor'));
  const last = await find({ query: { queue: 'mail', limit: 1, before, include: 'args,result' } });
  const queue = await queueInfo({ path });
  console.log(
    JSON.stringify({
      health: (await health()).data,
      inserted: inserted.data,
      duplicate: duplicate.error?.code,
      large: [large.response?.status, large.error?.code],
      claimed: [job.id, job.args, job.options?.retries],
      confirmed: confirmed.data?.map((each) => each.verdict),
      progress: progress.data?.map((each) => each.verdict),
      settled: settled.data?.settled,
      shown: [shown.data?.state, shown.data?.result, shown.data?.progress?.total],
      pages: [page.data, last.data].map((jobs) => jobs!.map((each) => each.id)),
      details: [page.data, last.data].map((jobs) => [jobs![0].args, jobs![0].omitted]),
      end: last.response?.headers.get('Next-Cursor'),
      depth: queue.data?.counts.available,
    }),
  );
}

void main(process.argv[2], process.argv[3]);
