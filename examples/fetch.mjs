#!/usr/bin/env node
// Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.
// Needs Node 18 or later. Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.

const server = process.env.FETCHPOOL ?? 'http://localhost:8080';

async function post(path, value) {
  const answer = await fetch(server + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(value),
    signal: AbortSignal.timeout(90_000),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.detail);
  return result;
}

async function main(urls) {
  if (urls.length === 0) throw new Error('usage: fetch.mjs URL...');
  const jobs = await Promise.all(urls.map((url) => post('/v1/jobs', { url, timeout: '10s' })));
  let pending = jobs.map((job) => job.id);
  let failed = false;
  while (pending.length > 0) {
    const answer = await post('/v1/wait?body=none', { ids: pending.slice(0, 1000), mode: 'any', timeout: '30s' });
    for (const { request, response, error, state } of answer.finished) {
      if (state !== 'succeeded') failed = true;
      console.log(response?.status ?? error?.code ?? state, response?.body_bytes ?? 0, request.url);
    }
    pending = answer.pending.concat(pending.slice(1000));
  }
  return failed ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error.cause?.message ?? error.message);
  process.exitCode = 2;
}
