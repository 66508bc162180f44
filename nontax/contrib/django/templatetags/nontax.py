"""`{% load nontax %}{% say "text" %}`: a text of this app in the current language."""

from django import template

from nontax.contrib.django.words import say

register = template.Library()
register.simple_tag(say)
