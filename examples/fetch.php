#!/usr/bin/env php
<?php
// Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.
// Needs PHP 8 without extensions. Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.
declare(strict_types=1);

function post(string $path, array $value): array
{
    $server = getenv('FETCHPOOL') ?: 'http://localhost:8080';
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => 'Content-Type: application/json',
        'content' => json_encode($value, JSON_THROW_ON_ERROR),
        'timeout' => 90,
        'ignore_errors' => true,    // a problem document is worth reading
    ]]);
    $stream = @fopen($server . $path, 'r', false, $context);
    if ($stream === false) {
        throw new RuntimeException("$server: " . (error_get_last()['message'] ?? 'cannot connect'));
    }
    $status = (int) explode(' ', stream_get_meta_data($stream)['wrapper_data'][0])[1];
    $answer = json_decode(stream_get_contents($stream), true, 64, JSON_THROW_ON_ERROR);
    if ($status >= 400) {
        throw new RuntimeException($answer['detail']);
    }
    return $answer;
}

function main(array $urls): int
{
    if (!$urls) {
        throw new RuntimeException('usage: fetch.php URL...');
    }
    $pending = [];
    foreach ($urls as $url) {
        $pending[] = post('/v1/jobs', ['url' => $url, 'timeout' => '10s'])['id'];
    }
    $failed = false;
    while ($pending) {
        $answer = post('/v1/wait?body=none', ['ids' => array_slice($pending, 0, 1000), 'mode' => 'any', 'timeout' => '30s']);
        foreach ($answer['finished'] as $job) {
            $failed = $failed || $job['state'] !== 'succeeded';
            $status = $job['response']['status'] ?? $job['error']['code'] ?? $job['state'];
            echo $status, ' ', $job['response']['body_bytes'] ?? 0, ' ', $job['request']['url'], "\n";
        }
        $pending = array_merge($answer['pending'], array_slice($pending, 1000));
    }
    return $failed ? 1 : 0;
}

try {
    exit(main(array_slice($argv, 1)));
} catch (Exception $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(2);
}
