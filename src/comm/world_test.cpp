#include "comm/world.h"

#include <gmock/gmock.h>

#include <map>

#include "base/error.h"
#include "comm/slurm_lists.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

World detect(const Variables& variables) {
  return detect_world([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string complaint(const Variables& variables) {
  try {
    detect(variables);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

const Variables kTorchrun = {{"RANK", "3"},        {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}};
const Variables kSlurm = {{"SLURM_PROCID", "5"},
                          {"SLURM_LOCALID", "1"},
                          {"SLURM_NODEID", "1"},
                          {"SLURM_NTASKS", "6"},
                          {"SLURM_STEP_ID", "0"},
                          {"SLURM_JOB_ID", "1234"},
                          {"SLURM_STEP_NODELIST", "node[01-03,7],gpu-a"},
                          {"SLURM_STEP_TASKS_PER_NODE", "4,2"},
                          {"SLURMD_NODENAME", "node02"}};

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}
Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

TEST(World, WithoutALauncherThisProcessIsAlone) {
  const World world = detect({});
  EXPECT_EQ(world.size, 1);
  EXPECT_EQ(world.launcher, "single");
  EXPECT_FALSE(world.host.empty());
}

TEST(World, TorchrunsVariables) {
  const World world = detect(kTorchrun);
  EXPECT_EQ(world.rank, 3);
  EXPECT_EQ(world.size, 4);
  EXPECT_EQ(world.local_rank, 1);
  EXPECT_EQ(world.local_size, 2);
  EXPECT_EQ(world.master_host, "a");
  EXPECT_EQ(world.master_port, 29500);
  EXPECT_EQ(world.master_port_count, 1);
  EXPECT_EQ(world.launcher, "torchrun");
  EXPECT_FALSE(world.agent_store);
  EXPECT_EQ(detect(with(kTorchrun, "MILLRACE_LAUNCH_ID", "l")).launcher, "launch");
}

TEST(World, EachAttemptOfAnElasticJobIsAnotherJob) {
  Variables variables = with(with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "True"), "TORCHELASTIC_RUN_ID", "r");
  variables["TORCHELASTIC_RESTART_COUNT"] = "2";
  EXPECT_TRUE(detect(variables).agent_store);
  EXPECT_EQ(detect(variables).job_id, "r/2");
}

TEST(World, MissingOrContradictoryVariablesAreNamed) {
  for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) {
    EXPECT_THAT(complaint(without(kTorchrun, name)), HasSubstr("[" + std::string(name) + "] expected"));
  }
  EXPECT_THAT(complaint(with(kTorchrun, "RANK", "4")),
              HasSubstr("[RANK] expected a number below WORLD_SIZE (4), got 4"));
  EXPECT_THAT(complaint(with(kTorchrun, "RANK", "-1")), HasSubstr("[RANK]"));
  EXPECT_THAT(complaint(with(kTorchrun, "RANK", "3x")), HasSubstr("got 3x"));
  EXPECT_THAT(complaint(with(kTorchrun, "LOCAL_RANK", "2")), HasSubstr("[LOCAL_RANK]"));
  EXPECT_THAT(complaint(with(kTorchrun, "LOCAL_WORLD_SIZE", "5")), HasSubstr("[LOCAL_WORLD_SIZE]"));
  EXPECT_THAT(complaint(with(kTorchrun, "MASTER_PORT", "70000")), HasSubstr("[MASTER_PORT]"));
  EXPECT_THAT(complaint(without(kSlurm, "SLURM_STEP_NODELIST")), HasSubstr("NODELIST"));
  EXPECT_THAT(complaint(with(kSlurm, "SLURM_PROCID", "6")), HasSubstr("[SLURM_PROCID]"));
  EXPECT_THAT(complaint(with(kSlurm, "SLURM_LOCALID", "2")), HasSubstr("[SLURM_LOCALID]"));
  EXPECT_THAT(complaint(with(kSlurm, "SLURM_STEP_NODELIST", "node[1-")), HasSubstr("brackets"));
}

TEST(World, ASlurmStep) {
  const World world = detect(kSlurm);
  EXPECT_EQ(world.launcher, "slurm");
  EXPECT_EQ(world.rank, 5);
  EXPECT_EQ(world.size, 6);
  EXPECT_EQ(world.local_rank, 1);
  EXPECT_EQ(world.local_size, 2);
  EXPECT_EQ(world.host, "node02");
  EXPECT_EQ(world.master_host, "node01");
  EXPECT_EQ(world.job_id, "1234.0.0");
  EXPECT_EQ(detect(with(kSlurm, "SLURM_RESTART_COUNT", "3")).job_id, "1234.0.3");
  EXPECT_EQ(detect(with(kSlurm, "SLURM_STEP_NUM_TASKS", "7")).size, 7);
}

TEST(World, SlurmJobsGetPortsThatDoNotTouch) {
  const World one = detect(kSlurm), next = detect(with(kSlurm, "SLURM_JOB_ID", "1235"));
  const World other_step = detect(with(kSlurm, "SLURM_STEP_ID", "1"));
  EXPECT_GE(std::abs(one.master_port - next.master_port), one.master_port_count);
  EXPECT_GE(std::abs(one.master_port - other_step.master_port), one.master_port_count);
  EXPECT_GE(one.master_port, 15000);
  EXPECT_LE(one.master_port + one.master_port_count, 32768);
  const World chosen = detect(with(with(kSlurm, "MASTER_PORT", "1700"), "MASTER_ADDR", "x"));
  EXPECT_EQ(chosen.master_port, 1700);
  EXPECT_EQ(chosen.master_port_count, 1);
  EXPECT_EQ(chosen.master_host, "x");
}

TEST(World, ABatchScriptIsNoStepAndTorchrunsVariablesComeFirst) {
  EXPECT_EQ(detect(without(kSlurm, "SLURM_STEP_ID")).size, 1);
  EXPECT_EQ(detect(with(kSlurm, "SLURM_STEP_ID", "4294967291")).size, 1);
  Variables both = kSlurm;
  both.insert(kTorchrun.begin(), kTorchrun.end());
  EXPECT_EQ(detect(both).size, 4);
  EXPECT_EQ(detect(with(with(kSlurm, "SLURM_NTASKS", "1"), "SLURM_PROCID", "0")).size, 1);
}

TEST(SlurmLists, NodesAreExpandedInOrder) {
  EXPECT_THAT(expand_node_list("node[01-03,7],gpu-a"), ElementsAre("node01", "node02", "node03", "node7", "gpu-a"));
  EXPECT_THAT(expand_node_list("a"), ElementsAre("a"));
  EXPECT_THAT(expand_node_list("r[1-2]n[08-09]x"), ElementsAre("r1n08x", "r1n09x", "r2n08x", "r2n09x"));
  EXPECT_THAT(expand_node_list("n[9-11]"), ElementsAre("n9", "n10", "n11"));
  for (const char* bad :
       {"", "a,,b", "n[", "n]", "n[1-]", "n[3-1]", "n[a]", "n[[1]]", "n[0-99999999]", "n[1-2][0-99999]"}) {
    EXPECT_THROW(expand_node_list(bad), ConfigError) << bad;
  }
}

TEST(SlurmLists, TaskCountsAreExpanded) {
  EXPECT_THAT(expand_task_counts("4(x2),3"), ElementsAre(4, 4, 3));
  EXPECT_THAT(expand_task_counts("8"), ElementsAre(8));
  for (const char* bad : {"", "x", "4(x2", "4(x)", "4(x999999)"})
    EXPECT_THROW(expand_task_counts(bad), ConfigError) << bad;
}

}  // namespace
}  // namespace millrace
