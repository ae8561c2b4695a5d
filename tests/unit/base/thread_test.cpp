#include "base/thread.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <array>
#include <csignal>
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

}  // namespace
}  // namespace bhyve
