# serve.pl PORT DIRECTORY - a server of the files in it, with what every Debian has.
use IO::Socket::INET;
my ($port, $dir) = @ARGV;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 9, ReuseAddr => 1) or die;
while (my $client = $server->accept) {
  my $path;
  while (defined(my $line = <$client>)) { $path = $1 if $line =~ m{^GET (\S+)}; last if $line =~ /^\r?$/ }
  $path =~ s/%([0-9a-f]{2})/chr hex $1/ige;
  if (open my $file, '<', "$dir$path") { local $/; my $body = <$file>; print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body" }
  else { print $client "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" }
}
