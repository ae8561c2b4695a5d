#include "host/fd_backend.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>
#include <thread>

#include "char_client.hpp"
#include "host/stdio_backend.hpp"
#include "host/tty_backend.hpp"

namespace bhyve::host {
namespace {

using test::bytes;
using test::Client;

struct Pipe {
  UniqueFd in, out;
  Pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) == 0) in.reset(fds[0]), out.reset(fds[1]);
  }
};

TEST(FdBackend, PipedInputWaitsForRoomAndNothingIsLost) {
  EventLoop loop("test");
  Pipe input, output;
  Client client(3);
  FdBackend backend(loop, input.in.get(), output.out.get());
  backend.attach(&client);
  ASSERT_EQ(::write(input.out.get(), "abcdefgh", 8), 8);
  EXPECT_EQ(client.wait_for(3), "abc");
  loop.sync();
  EXPECT_EQ(client.wait_for(3), "abc");
  for (usize n = 4; n <= 8; ++n) {
    client.make_room(1);
    backend.resume_input();
    EXPECT_EQ(client.wait_for(n), std::string("abcdefgh").substr(0, n));
  }
}

TEST(FdBackend, EndOfInputIsHarmless) {
  EventLoop loop("test");
  Pipe input, output;
  Client client;
  FdBackend backend(loop, input.in.get(), output.out.get());
  ASSERT_EQ(::write(input.out.get(), "x", 1), 1);
  input.out.reset();
  backend.attach(&client);
  EXPECT_EQ(client.wait_for(1), "x");
  loop.sync();
  backend.resume_input();
  loop.sync();
  EXPECT_EQ(backend.write(bytes("y")), 1u);
}

TEST(FdBackend, DevNullAndRegularFilesAreInputs) {
  EventLoop loop("test");
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  UniqueFd file(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "hello", 5), 5);
  ASSERT_EQ(::lseek(file.get(), 0, SEEK_SET), 0);
  Client none, some(2);
  FdBackend a(loop, null.get(), null.get()), b(loop, file.get(), null.get());
  a.attach(&none);
  b.attach(&some);
  EXPECT_EQ(some.wait_for(2), "he");
  some.make_room(10);
  b.resume_input();
  EXPECT_EQ(some.wait_for(5), "hello");
  EXPECT_EQ(a.write(bytes("gone")), 4u);
  a.flush();
}

TEST(FdBackend, SlowReaderGetsEveryByteInOrder) {
  EventLoop loop("test");
  Pipe input, output;
  std::string sent, got;
  std::thread reader;
  {
    Client client;
    FdBackend backend(loop, input.in.get(), output.out.get());
    backend.attach(&client);
    // More than pipe and buffer hold: the rest is refused, not dropped and not blocked on.
    const std::string chunk(1000, 'x');
    usize taken = 0;
    for (int i = 0; i < 1000; ++i) {
      std::string part = chunk;
      part[0] = static_cast<char>('a' + i % 26);
      taken = backend.write(bytes(part));
      sent += part.substr(0, taken);
      if (taken < part.size()) break;
    }
    EXPECT_LT(taken, 1000u);
    EXPECT_GE(sent.size(), FdBackend::output_limit);
    reader = std::thread([&] {
      char buffer[777];
      for (ssize_t n; (n = ::read(output.in.get(), buffer, sizeof buffer)) > 0;)
        got.append(buffer, static_cast<usize>(n));
    });
    EXPECT_TRUE(client.wait_writable());
    EXPECT_EQ(backend.write(bytes("tail")), 4u);
    sent += "tail";
    backend.flush();
  }
  output.out.reset();
  reader.join();
  EXPECT_EQ(got, sent);
}

TEST(FdBackend, DestructionFlushes) {
  EventLoop loop("test");
  Pipe input, output;
  std::string got;
  usize sent = 0;
  std::thread reader;
  {
    FdBackend backend(loop, input.in.get(), output.out.get());
    while (sent < 100000) {
      const usize n = backend.write(bytes(std::string(1000, 'z')));
      sent += n;
      if (n < 1000) break;
    }
    ASSERT_GT(sent, 65536u);  // more than the pipe holds
    reader = std::thread([&] {
      char buffer[4096];
      for (ssize_t n; (n = ::read(output.in.get(), buffer, sizeof buffer)) > 0;)
        got.append(buffer, static_cast<usize>(n));
    });
  }
  output.out.reset();
  reader.join();
  EXPECT_EQ(got.size(), sent);
}

TEST(FdBackend, VanishedReaderDropsOutput) {
  EventLoop loop("test");
  Pipe input, output;
  FdBackend backend(loop, input.in.get(), output.out.get());
  output.in.reset();
  for (int i = 0; i < 200; ++i) EXPECT_EQ(backend.write(bytes(std::string(1000, 'q'))), 1000u);
  backend.flush();
}

TEST(FdBackend, SharedDescriptionStaysBlocking) {
  EventLoop loop("test");
  Pipe input, output;
  FdBackend backend(loop, input.in.get(), output.out.get());
  EXPECT_EQ(::fcntl(input.in.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(output.out.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(TtyBackend, PtyPassesBytesBothWaysRaw) {
  EventLoop loop("test");
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(master);
  ASSERT_EQ(::grantpt(master.get()), 0);
  ASSERT_EQ(::unlockpt(master.get()), 0);
  Client client;
  auto backend = TtyBackend::open(loop, ::ptsname(master.get()));
  ASSERT_TRUE(backend) << backend.error().message;
  (*backend)->attach(&client);
  ASSERT_EQ(::write(master.get(), "\x03\r", 2), 2);
  EXPECT_EQ(client.wait_for(2), "\x03\r");
  EXPECT_EQ((*backend)->write(bytes("a\nb")), 3u);
  (*backend)->flush();
  char buffer[8];
  ASSERT_EQ(::read(master.get(), buffer, sizeof buffer), 3);
  EXPECT_EQ(std::string(buffer, 3), "a\nb");
}

TEST(TtyBackend, WhatIsNoTerminalIsRefusedByName) {
  EventLoop loop("test");
  EXPECT_NE(TtyBackend::open(loop, "/dev/null").error().message.find("/dev/null"), std::string::npos);
  EXPECT_EQ(TtyBackend::open(loop, "/nonexistent/tty").error().code, ENOENT);
}

TEST(StdioBackend, HasOneOwnerAtATime) {
  EventLoop loop("test");
  auto first = StdioBackend::open(loop);
  ASSERT_TRUE(first);
  EXPECT_EQ(StdioBackend::open(loop).error().code, EBUSY);
  first->reset();
  EXPECT_TRUE(StdioBackend::open(loop));
}

}  // namespace
}  // namespace bhyve::host
