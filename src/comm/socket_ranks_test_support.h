// Threads as ranks of a run over real sockets.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/line_socket.h"

namespace millrace {

// Runs body as `count` ranks, one thread each, over real sockets.
inline void as_ranks(int count, const MeshShape& shape, const std::function<void(Communicator&)>& body) {
  const int port = Listener::open(0)->port();
  std::vector<std::thread> threads;
  std::vector<std::string> problems(static_cast<size_t>(count));
  for (int rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        World world;
        world.rank = world.local_rank = rank;
        world.size = world.local_size = count;
        world.launcher = "launch";
        world.host = "here";
        world.master_host = "127.0.0.1";
        world.master_port = port;
        CommOptions options;
        options.shape = shape;
        options.init_timeout = 60;
        options.train_timeout = 60;
        const auto ranks = connect(world, options);
        body(*ranks);
        ranks->leave();
      } catch (const std::exception& error) {
        problems[static_cast<size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& problem : problems) EXPECT_EQ(problem, "");
}

}  // namespace millrace
