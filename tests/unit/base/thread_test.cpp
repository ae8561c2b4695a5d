#include "base/thread.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <string>
#include <thread>

namespace bhyve {
namespace {

TEST(Thread, NameIsCutToTheKernelsLimit) {
  std::string name;
  std::thread([&name] {
    name_this_thread("a name longer than fifteen");
    std::array<char, 16> text{};
    ::pthread_getname_np(::pthread_self(), text.data(), text.size());
    name = text.data();
  }).join();
  EXPECT_EQ(name, "a name longer t");
}

TEST(Thread, AsynchronousSignalsAreBlockedAndSynchronousOnesAreNot) {
  sigset_t set;
  std::thread([&set] {
    block_async_signals();
    ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
  }).join();
  for (const int n : {SIGINT, SIGTERM, SIGUSR1, SIGALRM}) EXPECT_TRUE(::sigismember(&set, n)) << n;
  for (const int n : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP})
    EXPECT_FALSE(::sigismember(&set, n)) << n;
}

TEST(Thread, AffinityBindsToTheGivenCpu) {
  std::thread([] {
    const auto cpu = static_cast<unsigned>(::sched_getcpu());
    ASSERT_TRUE(set_thread_affinity(0, {cpu}).has_value());
    cpu_set_t set;
    CPU_ZERO(&set);
    ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
    EXPECT_EQ(CPU_COUNT(&set), 1);
    EXPECT_TRUE(CPU_ISSET(cpu, &set));
  }).join();
}

TEST(Thread, AffinityToNoOrAnImpossibleCpuFails) {
  EXPECT_EQ(set_thread_affinity(0, {}).error().code, EINVAL);
  EXPECT_EQ(set_thread_affinity(0, {CPU_SETSIZE}).error().code, EINVAL);
}

/// struct sched_attr, first version.
struct SchedAttributes {
  std::uint32_t size, policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime, deadline, period;
};

SchedAttributes attributes() {
  SchedAttributes out{};
  ::syscall(SYS_sched_getattr, 0, &out, sizeof out, 0);
  return out;
}

TEST(Thread, ShortSlicesEndWithTheObjectAndChangeNothingElse) {
  std::thread([] {
    ASSERT_EQ(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 7), 0);
    const SchedAttributes before = attributes();
    if (before.runtime == 0) GTEST_SKIP() << "this kernel has no slices of one's own";
    ASSERT_NE(before.runtime, 100'000u);
    {
      const ShortSlices outer;
      EXPECT_EQ(attributes().runtime, 100'000u);
      EXPECT_EQ(attributes().nice, 7);
      { const ShortSlices inner; }
      EXPECT_EQ(attributes().runtime, 100'000u);
    }
    EXPECT_EQ(attributes().runtime, before.runtime);
    EXPECT_EQ(attributes().nice, 7);
    prefer_short_slices();
    EXPECT_EQ(attributes().runtime, 100'000u);
    EXPECT_EQ(attributes().nice, 7);
  }).join();
}

}  // namespace
}  // namespace bhyve
