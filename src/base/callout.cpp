#include "base/callout.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/thread.hpp"

namespace bhyve {

namespace {

/// The callouts of one owner and who runs them. Guarded by the wheel's mutex.
template <class Node>
struct Owner {
  std::vector<Node*> queue;  ///< latest deadline first, so that the next one due is at the back
  bool claimed = false;
  bool in_run_due = false;  ///< run_due() will return the new deadline: no wake is needed
  Nanos told = never;       ///< the deadline that the claimer last got from us
  std::function<void()> wake;

  [[nodiscard]] Nanos earliest() const { return queue.empty() ? never : queue.back()->deadline; }
};

}  // namespace

struct Callout::Node {
  Function function;
  Owner<Node>* owner = nullptr;
  Nanos deadline = never;
  bool running = false;   ///< the function runs; `deadline` is queued when it returns
  unsigned draining = 0;  ///< threads in drain(): arming is forgotten while one waits
};

struct CalloutWheel::Impl {
  using Node = Callout::Node;
  using Lock = std::unique_lock<std::mutex>;
  using NodeOwner = Owner<Node>;

  Impl();
  ~Impl();

  void arm(Node& node, Nanos deadline);
  void dequeue(Node& node);
  /// Queues an armed node. Returns the function that the caller must call after unlocking, or none.
  [[nodiscard]] std::function<void()> enqueue(Node& node);
  void run(Lock& lock, Node& node);
  void drain(Lock& lock, Node& node);

  void thread_main();
  [[nodiscard]] NodeOwner* first_unclaimed();
  void program(Nanos deadline);

  std::mutex mutex;  ///< guards everything below; never held while a function or a wake runs
  std::condition_variable finished;
  std::map<u32, NodeOwner> owners;
  /// The thread sleeps in read() of this timer, so others move its deadline without waking it.
  UniqueFd timer;
  /// What the timer is set to; 0 while the thread is not asleep. Written under the mutex.
  std::atomic<Nanos> programmed = 0;
  bool sleeping = false;
  bool stop = false;
  std::thread thread;
};

CalloutWheel::Impl::Impl() : timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) {
  if (!timer) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  thread = std::thread([this] { thread_main(); });
}

CalloutWheel::Impl::~Impl() {
  {
    const Lock lock(mutex);
    stop = true;
    program(0);
  }
  thread.join();
}

void CalloutWheel::Impl::program(Nanos deadline) {
  programmed = deadline;
  itimerspec spec{};  // all zero disarms
  if (deadline != never) {
    const Nanos at = std::max<Nanos>(deadline, 1);
    spec.it_value.tv_sec = static_cast<time_t>(at / nanos_per_second);
    spec.it_value.tv_nsec = static_cast<long>(at % nanos_per_second);
  }
  ::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

CalloutWheel::Impl::NodeOwner* CalloutWheel::Impl::first_unclaimed() {
  NodeOwner* best = nullptr;
  for (auto& [id, owner] : owners) {
    if (owner.claimed || owner.queue.empty()) continue;
    if (best == nullptr || owner.earliest() < best->earliest()) best = &owner;
  }
  return best;
}

void CalloutWheel::Impl::thread_main() {
  block_async_signals();
  name_this_thread("callout");
  prefer_short_slices();
  Lock lock(mutex);
  while (!stop) {
    NodeOwner* owner = first_unclaimed();
    const Nanos deadline = owner ? owner->earliest() : never;
    if (owner && deadline <= monotonic_now()) {
      run(lock, *owner->queue.back());
      continue;
    }
    if (programmed != deadline) program(deadline);
    sleeping = true;
    lock.unlock();
    u64 expirations = 0;
    // A failed read (EINTR) is a spurious wake: the loop looks at the queues again.
    [[maybe_unused]] const ssize_t n = ::read(timer.get(), &expirations, sizeof expirations);
    lock.lock();
    sleeping = false;
    programmed = 0;  // it has expired; whatever was set since is set again if needed
  }
}

void CalloutWheel::Impl::dequeue(Node& node) {
  if (node.deadline != never && !node.running) std::erase(node.owner->queue, &node);
  node.deadline = never;
}

std::function<void()> CalloutWheel::Impl::enqueue(Node& node) {
  NodeOwner& owner = *node.owner;
  const auto later = [](const Node* a, Nanos deadline) { return a->deadline > deadline; };
  owner.queue.insert(
      std::lower_bound(owner.queue.begin(), owner.queue.end(), node.deadline, later), &node);
  if (!owner.claimed) {
    if (sleeping && node.deadline < programmed) program(node.deadline);
    return {};
  }
  if (owner.in_run_due || node.deadline >= owner.told) return {};
  owner.told = node.deadline;
  return owner.wake;
}

void CalloutWheel::Impl::arm(Node& node, Nanos deadline) {
  std::function<void()> wake;
  {
    const Lock lock(mutex);
    if (node.draining > 0) return;
    dequeue(node);
    node.deadline = deadline;
    if (deadline != never && !node.running) wake = enqueue(node);
  }
  if (wake) wake();
}

void CalloutWheel::Impl::run(Lock& lock, Node& node) {
  dequeue(node);
  node.running = true;
  lock.unlock();
  node.function();
  lock.lock();
  node.running = false;
  std::function<void()> wake;
  if (node.draining > 0) {
    node.deadline = never;
    finished.notify_all();
  } else if (node.deadline != never) {
    wake = enqueue(node);
  }
  if (!wake) return;
  lock.unlock();
  wake();
  lock.lock();
}

void CalloutWheel::Impl::drain(Lock& lock, Node& node) {
  dequeue(node);
  ++node.draining;
  finished.wait(lock, [&node] { return !node.running; });
  --node.draining;
}

CalloutWheel::CalloutWheel() : impl_(std::make_unique<Impl>()) {}
CalloutWheel::~CalloutWheel() = default;

Nanos CalloutWheel::claim(u32 owner_id, std::function<void()> wake) {
  const Impl::Lock lock(impl_->mutex);
  Impl::NodeOwner& owner = impl_->owners[owner_id];
  owner.claimed = true;
  owner.wake = std::move(wake);
  owner.told = owner.earliest();
  // The thread no longer waits for this deadline: move its timer instead of letting it wake.
  if (impl_->sleeping && owner.told != never && owner.told == impl_->programmed) {
    const Impl::NodeOwner* next = impl_->first_unclaimed();
    impl_->program(next ? next->earliest() : never);
  }
  return owner.told;
}

Nanos CalloutWheel::run_due(u32 owner_id, Nanos now) {
  Impl::Lock lock(impl_->mutex);
  Impl::NodeOwner& owner = impl_->owners[owner_id];
  owner.in_run_due = true;
  while (owner.earliest() <= now && owner.earliest() != never)
    impl_->run(lock, *owner.queue.back());
  owner.in_run_due = false;
  owner.told = owner.earliest();
  return owner.told;
}

void CalloutWheel::unclaim(u32 owner_id) {
  const Impl::Lock lock(impl_->mutex);
  Impl::NodeOwner& owner = impl_->owners[owner_id];
  owner.claimed = false;
  owner.wake = nullptr;
  if (impl_->sleeping && owner.earliest() < impl_->programmed) impl_->program(owner.earliest());
}

void CalloutWheel::run_overdue(Nanos now) {
  if (impl_->programmed.load(std::memory_order_relaxed) > now) return;
  Impl::Lock lock(impl_->mutex, std::try_to_lock);
  if (!lock) return;
  Impl::NodeOwner* owner = impl_->first_unclaimed();
  for (; owner && owner->earliest() <= now; owner = impl_->first_unclaimed())
    impl_->run(lock, *owner->queue.back());
  if (impl_->sleeping) impl_->program(owner ? owner->earliest() : never);
}

Callout::Callout(CalloutWheel& wheel, Function function, u32 owner)
    : wheel_(wheel), node_(std::make_unique<Node>()) {
  node_->function = std::move(function);
  const CalloutWheel::Impl::Lock lock(wheel_.impl_->mutex);
  node_->owner = &wheel_.impl_->owners[owner];
}

Callout::~Callout() { drain(); }

void Callout::arm(Nanos deadline) { wheel_.impl_->arm(*node_, deadline); }

void Callout::disarm() {
  const CalloutWheel::Impl::Lock lock(wheel_.impl_->mutex);
  wheel_.impl_->dequeue(*node_);
}

void Callout::drain() {
  CalloutWheel::Impl::Lock lock(wheel_.impl_->mutex);
  wheel_.impl_->drain(lock, *node_);
}

bool Callout::armed() const {
  const CalloutWheel::Impl::Lock lock(wheel_.impl_->mutex);
  return node_->deadline != never;
}

}  // namespace bhyve
