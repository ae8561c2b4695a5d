// The process that others descend from: copies of it, on several threads, and that none is left.
#include "engine/soft/direct/user_nursery.hpp"

#include <csignal>
#include <filesystem>
#include <thread>

#include "user_process_fixture.hpp"

namespace bhyve::soft {
namespace {

/// One thread's process: it adds one to what it gets.
class UserNurseryTest : public UserProcessTest {
 protected:
  const std::vector<u8> add_one{0x48, 0xff, 0xc0, 0x0f, 0x0b};  // inc rax; ud2

  u64 successor(UserProcess& of, u64 value) {
    user_regs_struct r{};
    r.rip = code, r.eflags = 0x202, r.rax = value;
    EXPECT_EQ(of.run(r).signal, SIGILL);
    return r.rax;
  }
};

TEST_F(UserNurseryTest, ProcessesHaveTheirOwnMappings) {
  load(add_one);
  const auto other = spawn();
  ASSERT_TRUE(other);
  EXPECT_NE(other->pid(), process->pid());
  EXPECT_EQ(mappings(process->pid()).size(), 4u);
  EXPECT_EQ(mappings(other->pid()).size(), 2u);
  EXPECT_EQ(mappings(nursery->pid()).size(), 2u);
  other->map(code, page_size, code_offset, false, true);
  ASSERT_TRUE(other->apply());
  EXPECT_EQ(successor(*process, 1), 2u);
  EXPECT_EQ(successor(*other, 5), 6u);
  EXPECT_EQ(successor(*process, 7), 8u);
}

TEST_F(UserNurseryTest, SeveralOnEachOfSeveralThreads) {
  put(code_offset, add_one);
  std::vector<std::thread> threads;
  for (VcpuId vcpu = 0; vcpu < vcpus; ++vcpu)
    threads.emplace_back([this, vcpu] {
      std::vector<std::unique_ptr<UserProcess>> all;
      for (int n = 0; n < 8; ++n) all.push_back(spawn(vcpu));
      for (const auto& each : all) {
        ASSERT_TRUE(each);
        each->map(code, page_size, code_offset, false, true);
        ASSERT_TRUE(each->apply());
      }
      for (u64 round = 0; round < 50; ++round)
        for (const auto& each : all) EXPECT_EQ(successor(*each, round), round + 1);
    });
  for (auto& thread : threads) thread.join();
}

TEST_F(UserNurseryTest, StopsInterruptNobody) {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &child, nullptr), 0);  // so that it would stay
  constexpr timespec at_once{};
  while (::sigtimedwait(&child, nullptr, &at_once) > 0) {
  }
  load(add_one);
  EXPECT_EQ(successor(*process, 1), 2u);
  EXPECT_EQ(::sigtimedwait(&child, nullptr, &at_once), -1);
  ::pthread_sigmask(SIG_UNBLOCK, &child, nullptr);
}

TEST_F(UserNurseryTest, HasNoDescriptorsButTheMemorys) {
  unsigned count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process->pid()) + "/fd")) {
    const std::string target = std::filesystem::read_symlink(entry.path()).string();
    EXPECT_TRUE(target.starts_with("/memfd:guest") || target.starts_with("/memfd:bhyve-user")) << target;
    ++count;
  }
  EXPECT_EQ(count, 2u);
}

TEST_F(UserNurseryTest, IsFiltered) {
  for (const pid_t pid : {nursery->pid(), process->pid()}) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    std::string name, mode, privileges;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("Name:")) name = line;
      if (line.starts_with("Seccomp:")) mode = line;
      if (line.starts_with("NoNewPrivs:")) privileges = line;
    }
    EXPECT_EQ(name, "Name:\tguest user");
    EXPECT_EQ(mode, "Seccomp:\t2");
    EXPECT_EQ(privileges, "NoNewPrivs:\t1");
  }
}

TEST_F(UserNurseryTest, NobodyIsLeft) {
  const pid_t sleeping = nursery->pid(), running = process->pid();
  ASSERT_TRUE(exists(sleeping) && exists(running));
  process.reset();
  EXPECT_FALSE(exists(running));
  EXPECT_TRUE(exists(sleeping));
  nursery.reset();
  EXPECT_FALSE(exists(sleeping));
}

TEST_F(UserNurseryTest, ProcessesOfAThreadThatEndsAreGone) {
  pid_t pid = 0;
  std::thread([&] { pid = spawn(1)->pid(); }).join();
  EXPECT_FALSE(exists(pid));
}

TEST_F(UserNurseryTest, AKilledNurserySaysSo) {
  ASSERT_EQ(::kill(nursery->pid(), SIGKILL), 0);
  EXPECT_FALSE(nursery->spawn(0));
  load(add_one);
  EXPECT_EQ(successor(*process, 1), 2u) << "what there was goes on";
}

}  // namespace
}  // namespace bhyve::soft
