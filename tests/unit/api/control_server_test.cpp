#include "api/control_server.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <optional>

#include "api/vm_directory.hpp"
#include "bhyve/vm.hpp"
#include "run_dir_fixture.hpp"

namespace bhyve::api {
namespace {

/// A VM directory with a server that says what it was asked.
class ControlServerTest : public RunDirTest {
 protected:
  void SetUp() override {
    RunDirTest::SetUp();
    auto vm = VmDirectory::acquire("vm0", VmDirectory::Mode::create);
    ASSERT_TRUE(vm);
    vm_.emplace(std::move(*vm));
    auto listener = vm_->listen();
    ASSERT_TRUE(listener);
    server_.emplace(std::move(*listener), [](const Json& request) -> Result<Json> {
      if (request.value("command", "") == "get-stats")
        return Json(std::vector<Statistic>{{"vcpu total runtime", 7}});
      if (request.value("command", "") == "get-memmap") return Json("no list");
      return fail(ENOSYS, "unknown");
    });
  }
  /// A raw connection with a time-out.
  UniqueFd dial() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const std::string path = (run_ / "vm0" / "control").string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{10, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
  }
  static void say(const UniqueFd& fd, const std::string& text) {
    EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  /// Reads until `lines` newlines have come or the other side hung up.
  static std::string hear(const UniqueFd& fd, long lines) {
    std::string out;
    char c;
    while (lines > 0 && ::recv(fd.get(), &c, 1, 0) == 1) {
      out += c;
      if (c == '\n') --lines;
    }
    return out;
  }

  std::optional<VmDirectory> vm_;
  std::optional<ControlServer> server_;
};

TEST_F(ControlServerTest, ClientGetsTypedAnswers) {
  auto control = Control::connect("vm0");
  ASSERT_TRUE(control) << control.error().message;
  const auto stats = control->statistics(0);
  ASSERT_TRUE(stats);
  ASSERT_EQ(stats->size(), 1u);
  EXPECT_EQ(stats->front().value, 7u);
  EXPECT_EQ(control->inject_nmi(0).error().code, ENOSYS);
}

TEST_F(ControlServerTest, AnswerOfTheWrongShapeIsAnErrorOfTheClient) {
  auto control = Control::connect("vm0");
  ASSERT_TRUE(control);
  EXPECT_EQ(control->memory_map().error().code, EBADMSG);
}

TEST_F(ControlServerTest, SeveralRequestsInOnePacketAreAnsweredInOrder) {
  const UniqueFd fd = dial();
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "{}\n";
  say(fd, many);
  const std::string answers = hear(fd, 1000);
  EXPECT_EQ(std::count(answers.begin(), answers.end(), '\n'), 1000);
}

TEST_F(ControlServerTest, NonsenseIsAnsweredAndOthersGoOn) {
  const UniqueFd fd = dial();
  say(fd, "\x01\xff nonsense\n");
  EXPECT_NE(hear(fd, 1).find("\"ok\":false"), std::string::npos);
  EXPECT_TRUE(Control::connect("vm0")->statistics(0));
}

TEST_F(ControlServerTest, EndlessLineCutsTheClientOff) {
  const UniqueFd fd = dial();
  const std::string chunk(4096, 'x');
  for (int i = 0; i < 64; ++i)
    if (::send(fd.get(), chunk.data(), chunk.size(), MSG_NOSIGNAL) < 0) break;
  EXPECT_EQ(hear(fd, 1), "");
  EXPECT_TRUE(Control::connect("vm0")->statistics(0));
}

TEST_F(ControlServerTest, SilentClientDoesNotHoldUpOthers) {
  const UniqueFd silent = dial();
  say(silent, "{\"command\":");
  EXPECT_TRUE(Control::connect("vm0")->statistics(0));
}

TEST_F(ControlServerTest, ConnectingToAVmThatDoesNotRunSaysSo) {
  server_.reset();
  vm_->remove_socket();
  EXPECT_EQ(Control::connect("vm0").error().code, ESRCH);
  EXPECT_EQ(Control::connect("vm1").error().code, ENOENT);
}

}  // namespace
}  // namespace bhyve::api
