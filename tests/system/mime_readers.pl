# Reads a message and prints, for each of two parsers, the decoded file names of
# its parts and the SHA-256 of their content, as JSON lines.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Email::MIME;
use Encode qw(decode);
use JSON::PP;
use MIME::Parser;

binmode STDIN;
my $text = do { local $/; <STDIN> };

# MIME::Parser gives what RFC 2231 encodes as an encoded word.
sub readable {
    my ($name) = @_;
    return $name =~ /^=\?utf-8\?q\?/i ? decode("MIME-Header", $name) : $name;
}

sub tools_parts {
    my ($entity) = @_;
    return map { tools_parts($_) } $entity->parts if $entity->parts;
    my $head = $entity->head;
    my $name = $head->mime_attr("content-disposition.filename");
    return () unless defined $name;
    return [readable($name), sha256_hex($entity->bodyhandle->as_string)];
}

my $parser = MIME::Parser->new;
$parser->output_to_core(1);
$parser->tmp_to_core(1);
$parser->decode_headers(0);
print encode_json([tools_parts($parser->parse_data($text))]), "\n";

my @found;
Email::MIME->new($text)->walk_parts(sub {
    my ($part) = @_;
    return if $part->subparts;
    my $name = $part->filename;
    push @found, [$name, sha256_hex($part->body)] if defined $name;
});
print encode_json(\@found), "\n";
