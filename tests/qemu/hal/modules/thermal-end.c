// A thermal zone of 48.25 °C.

#include <linux/module.h>
#include <linux/thermal.h>

static struct thermal_zone_device *zone;

static int end_temperature(struct thermal_zone_device *zone, int *milli_celsius)
{
	*milli_celsius = 48250;
	return 0;
}

static struct thermal_zone_device_ops ops = { .get_temp = end_temperature };

static int __init end_init(void)
{
	zone = thermal_zone_device_register("soc-end", 0, 0, NULL, &ops, NULL, 0, 0);
	return PTR_ERR_OR_ZERO(zone);
}

static void __exit end_exit(void)
{
	thermal_zone_device_unregister(zone);
}

module_init(end_init);
module_exit(end_exit);
MODULE_DESCRIPTION("A thermal zone");
MODULE_LICENSE("Dual MIT/GPL");
