#include "host/event_loop.hpp"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <future>

namespace bhyve::host {
namespace {

TEST(EventLoop, PostedFunctionsRunInOrderOnTheLoopThread) {
  EventLoop loop("test");
  std::vector<int> order;
  std::atomic<bool> on_loop{true};
  for (int i = 0; i < 100; ++i)
    loop.post([&, i] {
      order.push_back(i);
      if (!loop.in_loop_thread()) on_loop = false;
    });
  loop.sync();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<usize>(i)], i);
  EXPECT_TRUE(on_loop);
  EXPECT_FALSE(loop.in_loop_thread());
}

TEST(EventLoop, DestructionRunsWhatWasPosted) {
  std::atomic<int> ran{0};
  {
    EventLoop loop("test");
    for (int i = 0; i < 10; ++i) loop.post([&] { ++ran; });
  }
  EXPECT_EQ(ran, 10);
}

TEST(EventLoop, HandlerRunsWhenReadyAndNeverAfterRemove) {
  EventLoop loop("test");
  UniqueFd fd(::eventfd(1, EFD_NONBLOCK));
  std::promise<void> called;
  std::atomic<int> calls{0};
  auto watch = loop.add(fd.get(), EPOLLIN, [&](u32) {
    if (calls++ == 0) called.set_value();
  });
  ASSERT_TRUE(watch);
  called.get_future().wait();
  loop.remove(*watch);
  const int then = calls;
  loop.sync();
  EXPECT_EQ(calls, then);
}

TEST(EventLoop, HandlerMayRemoveItself) {
  EventLoop loop("test");
  UniqueFd fd(::eventfd(1, EFD_NONBLOCK));
  std::promise<void> called;
  std::promise<EventLoop::Watch> name;
  auto named = name.get_future();
  auto watch = loop.add(fd.get(), EPOLLIN, [&](u32) {
    loop.remove(named.get());
    called.set_value();  // a second call would throw
  });
  ASSERT_TRUE(watch);
  name.set_value(*watch);
  called.get_future().wait();
  loop.sync();
}

TEST(EventLoop, QuietWatchIgnoresEvenHangUps) {
  EventLoop loop("test");
  int pair[2];
  ASSERT_EQ(::pipe(pair), 0);
  UniqueFd in(pair[0]), out(pair[1]);
  std::atomic<int> calls{0};
  auto watch = loop.add(in.get(), 0, [&](u32) { ++calls; });
  ASSERT_TRUE(watch);
  out.reset();
  loop.sync();
  loop.sync();
  EXPECT_EQ(calls, 0);
  loop.modify(*watch, EPOLLIN);
  while (calls == 0) loop.sync();
  loop.remove(*watch);
}

TEST(EventLoop, BadDescriptorIsAnError) {
  EventLoop loop("test");
  EXPECT_EQ(loop.add(-1, EPOLLIN, [](u32) {}).error().code, EBADF);
}

TEST(EventLoop, ManyThreadsAddPostAndRemove) {
  EventLoop loop("test");
  std::atomic<int> posted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        UniqueFd fd(::eventfd(1, EFD_NONBLOCK));
        int plain = 0;  // dies right after remove(): the handler must be done
        auto watch = loop.add(fd.get(), EPOLLIN, [&](u32) { ++plain; });
        ASSERT_TRUE(watch);
        loop.post([&] { ++posted; });
        loop.remove(*watch);
      }
    });
  for (auto& t : threads) t.join();
  loop.sync();
  EXPECT_EQ(posted, 400);
}

}  // namespace
}  // namespace bhyve::host
