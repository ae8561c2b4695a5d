#include "host/pty_backend.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>

#include "char_client.hpp"

namespace bhyve::host {
namespace {

using test::bytes;
using test::Client;

std::string read_some(const UniqueFd& fd) {
  pollfd p{fd.get(), POLLIN, 0};
  if (::poll(&p, 1, 20'000) <= 0) return "nothing came";
  char buffer[64];
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  return {buffer, static_cast<usize>(std::max<ssize_t>(n, 0))};
}

TEST(PtyBackend, UserMayComeLeaveAndComeAgain) {
  EventLoop loop("test");
  Client client;
  auto made = PtyBackend::open(loop, {});
  ASSERT_TRUE(made) << made.error().message;
  (*made)->attach(&client);
  EXPECT_EQ((*made)->write(bytes("\nearly")), 6u);
  for (usize round = 1; round <= 2; ++round) {
    const UniqueFd user(::open((*made)->path().c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(user);
    EXPECT_EQ(read_some(user), round == 1 ? "\nearly" : "again");  // raw: no CR was added
    ASSERT_EQ(::write(user.get(), "in\r", 3), 3);
    EXPECT_EQ(client.wait_for(3 * round).size(), 3 * round);
    (*made)->write(bytes(round == 1 ? "again" : ""));
    if (round == 1) (*made)->flush();
  }
}

TEST(PtyBackend, NobodyThereNeverBlocksTheGuestOrTheEnd) {
  EventLoop loop("test");
  auto made = PtyBackend::open(loop, {});
  ASSERT_TRUE(made);
  const std::string block(32 * KiB, 'x');
  for (int i = 0; i < 10; ++i) EXPECT_EQ((*made)->write(bytes(block)), block.size());
  (*made)->flush();
}

TEST(PtyBackend, LinkLeadsToTheTerminalAndGoesWithIt) {
  std::string directory = testing::TempDir() + "bhyve-pty.XXXXXX";
  const std::string link = std::string(::mkdtemp(directory.data())) + "/com1";
  EventLoop loop("test");
  {
    auto first = PtyBackend::open(loop, link);
    ASSERT_TRUE(first) << first.error().message;
    auto second = PtyBackend::open(loop, link);  // as after a crash: the old link is replaced
    ASSERT_TRUE(second) << second.error().message;
    char target[128] = "";
    ASSERT_GT(::readlink(link.c_str(), target, sizeof target - 1), 0);
    EXPECT_EQ(target, (*second)->path());
    first->reset();
    EXPECT_EQ(::access(link.c_str(), F_OK), 0);
  }
  EXPECT_NE(::access(link.c_str(), F_OK), 0);
  EXPECT_FALSE(PtyBackend::open(loop, directory));  // a directory is in the way
  ::rmdir(directory.c_str());
}

}  // namespace
}  // namespace bhyve::host
