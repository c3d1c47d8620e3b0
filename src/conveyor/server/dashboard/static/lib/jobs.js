// Jobs as the API answers them: fields at their default are left out there, and completed here.

const FIELDS = {
  attempt: 0,
  crashes: 0,
  worker: null,
  cancel_requested_at: null,
  cancel_forced: false,
  started_at: null,
  final_at: null,
  result: null,
  error: null,
  progress: null,
  stopping: [],
  damage: "",
};
const OPTIONS = {
  retries: 0,
  timeout: null,
  grace: 10,
  requires: [],
  crash_limit: 3,
  key: null,
  meta: {},
};

export const completeJob = (job) => ({
  ...FIELDS,
  ...job,
  options: { ...OPTIONS, ...job.options },
});

/** A page of jobs, see getPage. */
export const completeJobs = (page) => ({ ...page, rows: page.rows.map(completeJob) });
