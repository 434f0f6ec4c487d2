#include "dpdk/mlx5.h"

#include <gtest/gtest.h>
#include <rte_devargs.h>
#include <rte_ethdev.h>

#include <numeric>

#include "tests/dpdk/ring_ports.h"

namespace culvert::dpdk {
namespace {

TEST(Mlx5Device, HasArgumentsForItsMtu) {
  const std::pair<uint32_t, const char*> cases[] = {
      {1500,
       "0000:3b:00.0,dv_flow_en=1,mprq_en=1,mprq_log_stride_size=11,rxq_cqe_comp_en=1,rxq_pkt_pad_en=1,"
       "rxqs_min_mprq=1"},
      {4000,
       "0000:3b:00.0,dv_flow_en=1,mprq_en=1,mprq_log_stride_size=13,rxq_cqe_comp_en=1,rxq_pkt_pad_en=1,"
       "rxqs_min_mprq=1"},
      {9000, "0000:3b:00.0,dv_flow_en=1,mprq_en=0,rxq_cqe_comp_en=1,rxq_pkt_pad_en=1"},
  };
  for (const auto& [mtu, text] : cases) {
    const auto device = mlx5_device("0000:3b:00.0", mtu, {});
    ASSERT_TRUE(device) << device.error().text();
    EXPECT_EQ(*device, text) << mtu;
  }
}

TEST(Mlx5Device, TakesWhatTheUserSays) {
  const auto device = mlx5_device("3b:00.1", 1500, {{"rxqs_min_mprq", "4"}, {"txq_inline_mpw", "128"}});
  ASSERT_TRUE(device) << device.error().text();
  EXPECT_NE(device->find("rxqs_min_mprq=4"), std::string::npos) << *device;
  EXPECT_NE(device->find("txq_inline_mpw=128"), std::string::npos) << *device;
  EXPECT_EQ(device->find("rxqs_min_mprq=1"), std::string::npos) << *device;
}

TEST(Mlx5Device, NamesWhatIsWrong) {
  const struct {
    const char* address;
    DeviceArguments arguments;
    const char* says;
  } cases[] = {
      {"eth0", {}, "no PCI address"},
      {"0000:3b:00", {}, "no PCI address"},
      {"0000:3b:00.0,mprq_en=1", {}, "no PCI address"},
      {"0000:3b:00.0", {{"mprq_enable", "1"}}, "`mprq_enable`; there are: delay_drop"},
      {"0000:3b:00.0", {{"mprq_en", "yes"}}, "`mprq_en=yes` is not a number from 0 to 1"},
      {"0000:3b:00.0", {{"mprq_en", "1,x=2"}}, "is not a number"},
      {"0000:3b:00.0", {{"mprq_log_stride_size", "5"}}, "from 6 to 13"},
      {"0000:3b:00.0", {{"dv_flow_en", "0"}}, "from 1 to 1"},
  };
  for (const auto& one : cases) {
    const auto device = mlx5_device(one.address, 1500, one.arguments);
    ASSERT_FALSE(device) << one.address;
    EXPECT_EQ(device.error().number, EINVAL);
    EXPECT_NE(device.error().context.find(one.says), std::string::npos) << device.error().context;
  }
}

TEST(Mlx5Device, IsReadByDpdkAsItWasMeant) {
  test::start_eal();
  const auto device = mlx5_device("0000:3b:00.0", 1500, {});
  ASSERT_TRUE(device);
  rte_devargs parsed{};
  ASSERT_EQ(rte_devargs_parse(&parsed, device->c_str()), 0);
  EXPECT_STREQ(parsed.name, "0000:3b:00.0");
  EXPECT_NE(std::string(parsed.args).find("mprq_en=1"), std::string::npos);
  rte_devargs_reset(&parsed);
}

TEST(CoverPorts, UsesTheFewestBlocks) {
  const auto range = [](uint16_t first, size_t count) {
    std::vector<uint16_t> ports(count);
    std::iota(ports.begin(), ports.end(), first);
    return ports;
  };
  EXPECT_EQ(cover_ports({51820}), (std::vector<PortBlock>{{51820, 0xffff}}));
  EXPECT_EQ(cover_ports({}), std::vector<PortBlock>{});
  EXPECT_EQ(cover_ports({7, 7, 6}), (std::vector<PortBlock>{{6, 0xfffe}}));
  EXPECT_EQ(cover_ports(range(50000, 16)), (std::vector<PortBlock>{{50000, 0xfff0}}));
  EXPECT_EQ(cover_ports(range(1, 7)), (std::vector<PortBlock>{{1, 0xffff}, {2, 0xfffe}, {4, 0xfffc}}));
  EXPECT_EQ(cover_ports({8, 10}), (std::vector<PortBlock>{{8, 0xffff}, {10, 0xffff}}));
}

TEST(CoverPorts, HoldsExactlyThePortsThatWereAsked) {
  for (unsigned first = 65500; first < 65536; ++first) {
    for (unsigned last = first; last < 65536; ++last) {
      std::vector<uint16_t> ports;
      for (unsigned port = first; port <= last; ++port) ports.push_back(static_cast<uint16_t>(port));
      const std::vector<PortBlock> blocks = cover_ports(ports);
      for (unsigned port = 65400; port < 65536; ++port) {
        const auto hits = std::count_if(blocks.begin(), blocks.end(),
                                        [&](const PortBlock& one) { return (port & one.mask) == one.port; });
        ASSERT_EQ(hits, port >= first && port <= last ? 1 : 0) << first << ' ' << last << ' ' << port;
      }
    }
  }
}

// What a driver would be given: rte_flow_conv copies a rule as rte_flow_create reads it.
TEST(FlowRules, AreWellFormedAndSayWhatWasMeant) {
  for (const uint16_t vlan : {0, 42}) {
    const auto rules = flow_rules({51820, 51821, 51822}, vlan, 4);
    ASSERT_EQ(rules.size(), 4u) << "two blocks, two IP versions";
    EXPECT_EQ(rules[0]->text(), "UDP over v4 to port 51820/0xfffe");
    EXPECT_EQ(rules[3]->text(), "UDP over v6 to port 51822/0xffff");
    for (size_t i = 0; i < rules.size(); ++i) {
      rte_flow_conv_rule rule{};
      rule.attr_ro = &rules[i]->attributes();
      rule.pattern_ro = rules[i]->pattern();
      rule.actions_ro = rules[i]->actions();
      rte_flow_error error{};
      const int bytes = rte_flow_conv(RTE_FLOW_CONV_OP_RULE, nullptr, 0, &rule, &error);
      ASSERT_GT(bytes, 0) << error.message;
      std::vector<std::max_align_t> copy(static_cast<size_t>(bytes) / sizeof(std::max_align_t) + 1);
      ASSERT_EQ(rte_flow_conv(RTE_FLOW_CONV_OP_RULE, copy.data(), static_cast<size_t>(bytes), &rule, &error), bytes);
      const auto& got = *reinterpret_cast<const rte_flow_conv_rule*>(copy.data());
      const bool v6 = i % 2 == 1;
      EXPECT_EQ(got.attr->ingress, 1u);
      const rte_flow_item* item = got.pattern;
      EXPECT_EQ((item++)->type, RTE_FLOW_ITEM_TYPE_ETH);
      if (vlan != 0) {
        ASSERT_EQ(item->type, RTE_FLOW_ITEM_TYPE_VLAN);
        EXPECT_EQ(static_cast<const rte_flow_item_vlan*>(item->spec)->tci, htons(42));
        EXPECT_EQ(static_cast<const rte_flow_item_vlan*>((item++)->mask)->tci, htons(0x0fff));
      }
      EXPECT_EQ((item++)->type, v6 ? RTE_FLOW_ITEM_TYPE_IPV6 : RTE_FLOW_ITEM_TYPE_IPV4);
      ASSERT_EQ(item->type, RTE_FLOW_ITEM_TYPE_UDP);
      EXPECT_EQ(static_cast<const rte_flow_item_udp*>(item->spec)->hdr.dst_port, htons(i < 2 ? 51820 : 51822));
      EXPECT_EQ(static_cast<const rte_flow_item_udp*>(item->mask)->hdr.dst_port, htons(i < 2 ? 0xfffe : 0xffff));
      EXPECT_EQ(static_cast<const rte_flow_item_udp*>(item->mask)->hdr.src_port, 0);
      EXPECT_EQ((++item)->type, RTE_FLOW_ITEM_TYPE_END);
      ASSERT_EQ(got.actions[0].type, RTE_FLOW_ACTION_TYPE_RSS);
      const auto& rss = *static_cast<const rte_flow_action_rss*>(got.actions[0].conf);
      EXPECT_EQ(rss.types,
                (v6 ? RTE_ETH_RSS_NONFRAG_IPV6_UDP : RTE_ETH_RSS_NONFRAG_IPV4_UDP) | RTE_ETH_RSS_L4_SRC_ONLY);
      EXPECT_EQ(std::vector<uint16_t>(rss.queue, rss.queue + rss.queue_num), (std::vector<uint16_t>{0, 1, 2, 3}));
      EXPECT_EQ(got.actions[1].type, RTE_FLOW_ACTION_TYPE_END);
    }
  }
}

TEST(Port, ThatCannotBeIsolatedIsNotOpened) {
  const Pool pool = test::test_pool();
  rte_mempool* const memory = pool.get();
  const test::RingPort ring(memory);
  PortOptions options;
  options.isolated = true;
  const auto opened = Port::open(ring.port->name(), options, {&memory, 1});
  ASSERT_FALSE(opened) << "the kernel would lose its share of the port";
  EXPECT_NE(opened.error().context.find("isolate"), std::string::npos) << opened.error().context;
}

}  // namespace
}  // namespace culvert::dpdk
