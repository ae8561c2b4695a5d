#include "host/socket_backend.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "char_client.hpp"

namespace bhyve::host {
namespace {

using test::bytes;
using test::Client;

UniqueFd dial(const SocketAddress& address) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (::connect(fd.get(), address.get(), address.length) != 0) fd.reset();
  return fd;
}

std::string read_exactly(const UniqueFd& fd, usize n) {
  std::string got(n, '\0');
  usize done = 0;
  while (done < n) {
    const ssize_t now = ::read(fd.get(), got.data() + done, n - done);
    if (now <= 0) break;
    done += static_cast<usize>(now);
  }
  got.resize(done);
  return got;
}

struct SocketBackendTest : testing::Test {
  EventLoop loop{"test"};
  Client client;
  std::unique_ptr<SocketBackend> backend;

  void listen() {
    auto made = SocketBackend::listen_tcp(loop, "127.0.0.1:0");
    ASSERT_TRUE(made) << made.error().message;
    backend = std::move(*made);
    backend->attach(&client);
  }
  UniqueFd dial_tcp() { return dial(*parse_tcp_address(backend->address())); }
};

TEST_F(SocketBackendTest, BytesGoBothWays) {
  listen();
  const UniqueFd peer = dial_tcp();
  ASSERT_EQ(::write(peer.get(), "hello", 5), 5);
  EXPECT_EQ(client.wait_for(5), "hello");
  EXPECT_EQ(backend->write(bytes("guest")), 5u);
  EXPECT_EQ(read_exactly(peer, 5), "guest");
}

TEST_F(SocketBackendTest, OutputBeforeTheFirstClientWaitsForIt) {
  listen();
  EXPECT_EQ(backend->write(bytes("early ")), 6u);
  backend->flush();  // returns: nobody is there
  const UniqueFd peer = dial_tcp();
  EXPECT_EQ(read_exactly(peer, 6), "early ");
}

TEST_F(SocketBackendTest, WithoutClientTheLatestOutputIsKept) {
  listen();
  const std::string block(SocketBackend::output_limit, 'a');
  EXPECT_EQ(backend->write(bytes(block)), block.size());
  EXPECT_EQ(backend->write(bytes("END")), 3u);
  const UniqueFd peer = dial_tcp();
  const std::string got = read_exactly(peer, SocketBackend::output_limit);
  ASSERT_EQ(got.size(), SocketBackend::output_limit);
  EXPECT_EQ(got.substr(got.size() - 4), "aEND");
}

TEST_F(SocketBackendTest, SecondClientIsTurnedAwayUntilTheFirstLeaves) {
  listen();
  UniqueFd first = dial_tcp();
  ASSERT_EQ(::write(first.get(), "1", 1), 1);
  ASSERT_EQ(client.wait_for(1), "1");
  const UniqueFd second = dial_tcp();
  EXPECT_EQ(read_exactly(second, 1), "");  // end at once
  first.reset();
  const UniqueFd third = dial_tcp();
  ASSERT_EQ(::write(third.get(), "3", 1), 1);
  EXPECT_EQ(client.wait_for(2), "13");
}

TEST_F(SocketBackendTest, InputWaitsForRoomAndNothingIsLost) {
  Client narrow(2);  // outlives the back end
  auto made = SocketBackend::listen_tcp(loop, "127.0.0.1:0");
  ASSERT_TRUE(made);
  (*made)->attach(&narrow);
  const UniqueFd peer = dial(*parse_tcp_address((*made)->address()));
  ASSERT_EQ(::write(peer.get(), "abcdef", 6), 6);
  EXPECT_EQ(narrow.wait_for(2), "ab");
  for (usize n = 3; n <= 6; ++n) {
    narrow.make_room(1);
    (*made)->resume_input();
    EXPECT_EQ(narrow.wait_for(n), std::string("abcdef").substr(0, n));
  }
}

TEST_F(SocketBackendTest, SlowClientMakesTheGuestWaitAndGetsEverything) {
  listen();
  const UniqueFd peer = dial_tcp();
  ASSERT_EQ(::write(peer.get(), "x", 1), 1);
  ASSERT_EQ(client.wait_for(1), "x");
  std::string sent;
  const std::string block(16 * KiB, 'b');
  for (;;) {
    const usize n = backend->write(bytes(block));
    sent.append(n, 'b');
    if (n < block.size()) break;
  }
  EXPECT_EQ(read_exactly(peer, sent.size()), sent);
  EXPECT_TRUE(client.wait_writable());
}

TEST_F(SocketBackendTest, ClientThatLeavesDoesNotBlockTheGuest) {
  listen();
  UniqueFd peer = dial_tcp();
  ASSERT_EQ(::write(peer.get(), "x", 1), 1);
  ASSERT_EQ(client.wait_for(1), "x");
  peer.reset();
  const std::string block(16 * KiB, 'c');
  for (int i = 0; i < 100; ++i) {
    usize done = 0;
    while (done < block.size()) {
      done += backend->write(bytes(block).subspan(done));
      if (done < block.size()) loop.sync();
    }
  }
  backend->flush();
  const UniqueFd next = dial_tcp();
  EXPECT_EQ(read_exactly(next, 1), "c");
}

struct UnixSocketTest : SocketBackendTest {
  std::string directory = testing::TempDir() + "bhyve-socket.XXXXXX";
  std::string path;
  UnixSocketTest() { path = std::string(::mkdtemp(directory.data())) + "/com1"; }
  ~UnixSocketTest() override { ::rmdir(directory.c_str()); }
};

TEST_F(UnixSocketTest, FileIsOursAloneAndGoesWithTheBackEnd) {
  {
    auto made = SocketBackend::listen_unix(loop, path);
    ASSERT_TRUE(made) << made.error().message;
    struct stat st {};
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_TRUE(S_ISSOCK(st.st_mode));
    EXPECT_EQ(st.st_mode & 077, 0u);
    const UniqueFd peer = dial(*unix_address(path));
    EXPECT_EQ((*made)->write(bytes("hi")), 2u);
    EXPECT_EQ(read_exactly(peer, 2), "hi");
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST_F(UnixSocketTest, StaleSocketIsTakenOverALivingOneIsNot) {
  {
    const auto address = unix_address(path);
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), address->get(), address->length), 0);
  }
  auto made = SocketBackend::listen_unix(loop, path);
  ASSERT_TRUE(made) << made.error().message;
  const auto again = SocketBackend::listen_unix(loop, path);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, EADDRINUSE);
  EXPECT_NE(again.error().message.find(path), std::string::npos);
}

TEST_F(UnixSocketTest, OrdinaryFileIsNotTouched) {
  { const UniqueFd file(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); }
  EXPECT_FALSE(SocketBackend::listen_unix(loop, path));
  EXPECT_EQ(::unlink(path.c_str()), 0);
}

TEST(SocketAddress, OnlyNumericAddressesAndPortsAreTaken) {
  for (const char* good : {"127.0.0.1:0", "0.0.0.0:65535", "[::1]:80", "localhost:1"})
    EXPECT_TRUE(parse_tcp_address(good)) << good;
  for (const char* bad : {"", ":1", "5000", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1",
                          "1.2.3.4:1x", "::1:80", "[::1:80", "example.org:80", "[]:1"})
    EXPECT_FALSE(parse_tcp_address(bad)) << bad;
  EXPECT_EQ(tcp_address_text(*parse_tcp_address("[::1]:80")), "[::1]:80");
  EXPECT_FALSE(unix_address(std::string(108, 'x')));
}

}  // namespace
}  // namespace bhyve::host
