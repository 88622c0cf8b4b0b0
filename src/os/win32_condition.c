/* Conditions of Windows. */
#include "os/condition.h"

#include <windows.h>

_Static_assert(sizeof(CONDITION_VARIABLE) == sizeof(struct os_condition), "kept as a pointer");
_Static_assert(OS_FOREVER == INFINITE, "no limit has one number");

static CONDITION_VARIABLE *variable_of(struct os_condition *condition)
{
    return (CONDITION_VARIABLE *)&condition->variable;
}

void os_condition_init(struct os_condition *condition)
{
    InitializeConditionVariable(variable_of(condition));
}

void os_condition_free(struct os_condition *condition) { (void)condition; }

void os_condition_wait(struct os_condition *condition, struct os_lock *lock, uint32_t timeout_ms)
{
    (void)SleepConditionVariableSRW(variable_of(condition), (SRWLOCK *)&lock->srw, timeout_ms, 0);
}

void os_condition_tell(struct os_condition *condition)
{
    WakeConditionVariable(variable_of(condition));
}

void os_condition_tell_all(struct os_condition *condition)
{
    WakeAllConditionVariable(variable_of(condition));
}
