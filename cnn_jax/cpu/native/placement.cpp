#include "placement.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

// Declared here, and resolved in oneDNN's own OpenMP runtime, so that no second runtime is linked.
extern "C" {
int omp_get_thread_num();
void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned flags);
}

namespace cnn_jax {
namespace {

// With more processors the system finds an idle one.
constexpr int kMostProcessors = 8;

// The runtime keeps a team for each thread that calls it, as long as the team's size stays.
struct Team {
  std::vector<pid_t> threads;  // the calling thread first
  cpu_set_t allowed;
  int caller_on;
};

void note_thread(void* data) {
  auto& threads = *static_cast<std::vector<pid_t>*>(data);
  const auto number = static_cast<size_t>(omp_get_thread_num());
  if (number < threads.size()) threads[number] = static_cast<pid_t>(syscall(SYS_gettid));
}

bool pin(pid_t thread, int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  return sched_setaffinity(thread, sizeof(one), &one) == 0;
}

bool alive(pid_t thread) { return thread > 0 && syscall(SYS_tgkill, getpid(), thread, 0) == 0; }

// The runtime ends the threads that a smaller team leaves over, and makes new ones for a larger.
bool all_alive(const Team& team) {
  return !team.threads.empty() && std::all_of(team.threads.begin(), team.threads.end(), alive);
}

// The next processor in the set, beginning anew after the last.
int after(int processor, const cpu_set_t& allowed) {
  do {
    processor = (processor + 1) % CPU_SETSIZE;
  } while (!CPU_ISSET(processor, &allowed));
  return processor;
}

}  // namespace

Placement::Placement(int threads) {
  if (threads < 2) return;
  thread_local Team team;
  if (team.threads.size() != static_cast<size_t>(threads)) team.threads.clear();
  if (threads > kMostProcessors) return;
  if (sched_getaffinity(0, sizeof(allowed_), &allowed_) != 0) return;
  if (CPU_COUNT(&allowed_) != threads) return;
  const int here = sched_getcpu();
  if (here < 0 || !CPU_ISSET(here, &allowed_)) return;

  const bool known = all_alive(team);
  if (!known) {
    team.threads.assign(static_cast<size_t>(threads), 0);
    GOMP_parallel(note_thread, &team.threads, static_cast<unsigned>(threads), 0);
  }
  if (pin(0, here)) processor_ = here;
  if (known && team.caller_on == here && CPU_EQUAL(&team.allowed, &allowed_)) return;
  team.caller_on = here;
  team.allowed = allowed_;
  int processor = here;
  for (size_t i = 1; i < team.threads.size(); ++i) {
    processor = after(processor, allowed_);
    if (alive(team.threads[i])) pin(team.threads[i], processor);
  }
}

Placement::~Placement() {
  if (processor_ < 0) return;
  // Where somebody has moved the thread meanwhile, there it is to stay.
  cpu_set_t now;
  if (sched_getaffinity(0, sizeof(now), &now) != 0) return;
  if (CPU_COUNT(&now) == 1 && CPU_ISSET(processor_, &now)) {
    sched_setaffinity(0, sizeof(allowed_), &allowed_);
  }
}

}  // namespace cnn_jax
