/* SPDX-License-Identifier: BSD-3-Clause */
/* The maps in a path's configuration: VNIs and local addresses, against naive models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "device/packet/path_config_priv.h"
#include "device/packet/testlib.h"

static unsigned retired;

static void retire(void *ctx, void (*free_fn)(void *), void *memory)
{
	assert_ptr_equal(ctx, &retired);
	retired++;
	free_fn(memory);
}

static void vnis(void **state)
{
	enum { VNIS = 4096 };
	static int model[3][VNIS];
	struct path_config *config;

	assert_int_equal(path_config_new(&config), 0);
	memset(model, -1, sizeof(model));
	srand(2);
	for (unsigned i = 0; i < 200000; i++) {
		enum tunnel_kind kind = 1 + (unsigned)rand() % 2;
		unsigned vni = (unsigned)rand() % VNIS;
		/* Grows for a while, then shrinks. */
		if ((unsigned)rand() % 100 < (i / 50000 % 2 ? 30 : 70)) {
			model[kind][vni] = (uint16_t)rand();
			assert_int_equal(
				path_vni_set(config, kind, vni << 4, (uint16_t)model[kind][vni], retire, &retired), 0);
		} else {
			model[kind][vni] = -1;
			path_vni_clear(config, kind, vni << 4, retire, &retired);
		}
		if (i % 1000 == 0)
			for (unsigned n = 0; n < VNIS; n++) {
				assert_int_equal(path_vni_find(config, 1, n << 4), model[1][n]);
				assert_int_equal(path_vni_find(config, 2, n << 4), model[2][n]);
			}
	}
	assert_true(retired > 5 && retired < 5000); /* it grows by doubling, and rebuilds now and then */
	path_config_free(config);
}

static void invalid(void **state)
{
	struct path_config *config;
	struct ip_addr none = { 0 };

	assert_int_equal(path_config_new(&config), 0);
	assert_int_equal(path_vni_set(config, TUNNEL_NONE, 1, 1, NULL, NULL), -EINVAL);
	assert_int_equal(path_vni_set(config, 3, 1, 1, NULL, NULL), -EINVAL);
	assert_int_equal(path_vni_set(config, TUNNEL_VXLAN, 1 << 24, 1, NULL, NULL), -EINVAL);
	path_vni_clear(config, 3, 1, NULL, NULL);
	path_vni_clear(config, TUNNEL_VXLAN, 7, NULL, NULL);
	assert_int_equal(path_local_set(config, &none, 0, NULL, NULL), -EINVAL);
	assert_int_equal(path_vni_find(config, TUNNEL_VXLAN, 7), -1);
	path_config_free(config);
}

static void locals(void **state)
{
	struct path_config *config;
	struct ip_addr a = test_ip("192.0.2.1"), b = test_ip("192.0.2.2"), c = test_ip("2001:db8::1");

	assert_int_equal(path_config_new(&config), 0);
	retired = 0;
	assert_false(path_local_v4(config, a.bytes, PATH_ANY_VLAN));
	assert_int_equal(path_local_set(config, &a, 0, retire, &retired), 0);
	assert_int_equal(path_local_set(config, &a, 0, retire, &retired), 0);
	assert_int_equal(path_local_set(config, &b, 0, retire, &retired), 0);
	assert_int_equal(path_local_set(config, &c, 7, retire, &retired), 0);
	assert_true(path_local_v4(config, a.bytes, 0));
	assert_true(path_local_v4(config, b.bytes, 0));
	assert_false(path_local_v4(config, b.bytes, 7));
	assert_true(path_local_v6(config, c.bytes, 7));
	assert_false(path_local_v6(config, c.bytes, 0));
	assert_true(path_local_v6(config, c.bytes, PATH_ANY_VLAN));
	assert_false(path_local_v6(config, a.bytes, PATH_ANY_VLAN));
	path_local_clear(config, &a, retire, &retired);
	assert_false(path_local_v4(config, a.bytes, 0));
	assert_true(path_local_v4(config, b.bytes, 0));
	path_local_clear(config, &c, retire, &retired);
	assert_false(path_local_v6(config, c.bytes, 7));
	assert_int_equal(retired, 6);
	path_config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vnis),
		cmocka_unit_test(invalid),
		cmocka_unit_test(locals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
