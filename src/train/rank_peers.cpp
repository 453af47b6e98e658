#include "train/rank_peers.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace millrace {
namespace {

// For one answer, such as that a shard of a checkpoint is written. The watch detects ranks that die or hang
// sooner.
constexpr double kSeconds = 1800;

// In parts, so that a shard on a GPU needs no full copy in host memory.
uint64_t checksum_of(const torch::Tensor& flat) {
  constexpr int64_t kPart = 1 << 24;
  std::vector<uint64_t> sums;
  for (int64_t begin = 0; begin < flat.numel(); begin += kPart) {
    const torch::Tensor part = flat.narrow(0, begin, std::min(kPart, flat.numel() - begin)).cpu();
    sums.push_back(checksum64(part.data_ptr(), part.nbytes()));
  }
  return checksum64(sums.data(), sums.size() * sizeof(uint64_t));
}

// The first rank whose value differs from that of the first rank of its kind.
std::string compare(const std::vector<std::string>& texts) {
  std::map<std::string, std::pair<size_t, nlohmann::json>> first_by_place;
  const nlohmann::json first = nlohmann::json::parse(texts.at(0));
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const nlohmann::json own = nlohmann::json::parse(texts[rank]);
    const std::string host = own.at("host").get<std::string>();
    if (own.at("files") != first.at("files")) {
      throw ModelError(str("[rank ", rank, " on ", host, "] expected the same files of weights as on rank 0 (",
                           first.at("host").get<std::string>(), "), got different ones"));
    }
    const auto [held, is_first] = first_by_place.try_emplace(own.at("place").get<std::string>(), rank, own);
    if (!is_first && held->second.second.at("weights") != own.at("weights")) {
      throw ModelError(str("[rank ", rank, " on ", host, "] expected the same weights as on its replica, rank ",
                           held->second.first, ", got different ones"));
    }
  }
  return "";
}

}  // namespace

std::shared_ptr<Peers> make_peers(Communicator& communicator) {
  const World& world = communicator.world();
  if (world.size == 1) return std::make_shared<Peers>();
  return std::make_shared<Peers>(communicator.store(), world.rank, world.size, kSeconds);
}

bool ask_first_rank(Peers& peers, const std::string& topic, const std::function<bool()>& question) {
  return peers.agree(
             topic, [&] { return std::string(peers.rank() == 0 && question() ? "yes" : "no"); },
             [](const std::vector<std::string>& all) { return all.front(); }) == "yes";
}

std::string first_message(Peers& peers, const std::string& topic, const std::string& own) {
  return first_message(peers, topic, [&] { return own; });
}

std::string first_message(Peers& peers, const std::string& topic, const std::function<std::string()>& own) {
  return peers.agree(topic, own, [](const std::vector<std::string>& all) {
    const auto found = std::find_if(all.begin(), all.end(), [](const std::string& text) { return !text.empty(); });
    return found == all.end() ? std::string() : *found;
  });
}

void check_equal_weights(Peers& peers, Communicator& communicator, const std::function<uint64_t()>& files_fingerprint,
                         const torch::Tensor& weights) {
  if (peers.size() == 1) return;
  Mesh& mesh = communicator.mesh();
  peers.agree(
      "weights at the start",
      [&] {
        const bool has_replica = mesh.shape().dp_replicate > 1;
        return nlohmann::json{{"host", communicator.world().host},
                              {"files", files_fingerprint()},
                              {"place", str(mesh.position().shard, ".", mesh.position().tp)},
                              {"weights", has_replica ? checksum_of(weights) : 0}}
            .dump();
      },
      compare);
}

}  // namespace millrace
