// A chip with two channels of pulse-width modulation, which says on the console what it is told.

#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/pwm.h>

static struct platform_device *parent;

static int end_apply(struct pwm_chip *chip, struct pwm_device *channel, const struct pwm_state *state)
{
	pr_info("pwm-end: channel %u %s, %llu of %llu ns\n", channel->hwpwm, state->enabled ? "on" : "off",
		state->duty_cycle, state->period);
	return 0;
}

static const struct pwm_ops ops = { .apply = end_apply, .owner = THIS_MODULE };
static struct pwm_chip chip = { .ops = &ops, .npwm = 2 };

static int __init end_init(void)
{
	int failed;

	parent = platform_device_register_simple("pwm-end", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	chip.dev = &parent->dev;
	failed = pwmchip_add(&chip);
	if (failed)
		platform_device_unregister(parent);
	return failed;
}

static void __exit end_exit(void)
{
	pwmchip_remove(&chip);
	platform_device_unregister(parent);
}

module_init(end_init);
module_exit(end_exit);
MODULE_DESCRIPTION("A chip for pulse-width modulation");
MODULE_LICENSE("Dual MIT/GPL");
