#!/usr/bin/perl
# Verifies the RSA signatures of mail files with Mail::DKIM. Arguments: port of a name server on
# 127.0.0.1, then files. One line each: the file, the number of good RSA signatures, and every other result.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS::Resolver;

my $port = shift @ARGV;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
    nameservers => ['127.0.0.1'], port => $port, recurse => 1, usevc => 1));
for my $file (@ARGV) {
    open my $in, '<:raw', $file or die "$file: $!";
    local $/;
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT(scalar <$in>);
    $verifier->CLOSE;
    my ($good, @other) = (0);
    for my $s ($verifier->signatures) {
        next if $s->algorithm !~ /^rsa/;    # Debian 12's version knows no Ed25519
        if ($s->result eq 'pass') { $good++ } else { push @other, $s->result_detail }
    }
    print join(' ', $file, $good, @other), "\n";
}
