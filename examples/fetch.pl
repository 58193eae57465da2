#!/usr/bin/env perl
# Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.
# Needs Perl's core modules alone. Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP qw(encode_json decode_json);

my $server = $ENV{FETCHPOOL} // 'http://localhost:8080';
my $http = HTTP::Tiny->new(timeout => 90);
$| = 1;

sub quit {
    print STDERR @_, "\n";
    exit 2;
}

sub post {
    my ($path, $value) = @_;
    my $answer = $http->post($server . $path,
        { headers => { 'Content-Type' => 'application/json' }, content => encode_json($value) });
    return decode_json($answer->{content}) if $answer->{success};
    quit("$server: ", $answer->{content} =~ s/\s+\z//r) if $answer->{status} == 599;    # the reason stands for the content
    quit(decode_json($answer->{content})->{detail});
}

@ARGV or quit('usage: fetch.pl URL...');
my @pending = map { post('/v1/jobs', { url => $_, timeout => '10s' })->{id} } @ARGV;
my $failed = 0;
while (my @now = splice @pending, 0, 1000) {
    my $answer = post('/v1/wait?body=none', { ids => \@now, mode => 'any', timeout => '30s' });
    for my $job (@{ $answer->{finished} }) {
        my ($response, $error) = @$job{qw(response error)};
        $failed = 1 if $job->{state} ne 'succeeded';
        my $status = $response ? $response->{status} : $error ? $error->{code} : $job->{state};
        print join(' ', $status, $response ? $response->{body_bytes} : 0, $job->{request}{url}), "\n";
    }
    unshift @pending, @{ $answer->{pending} };
}
exit $failed;
